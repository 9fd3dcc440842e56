# Thin front door: everything real is in meson.build and tools/.
B ?= build
J ?= $(shell nproc)
PREFIX ?= /usr/local
PYJOBS ?= 1
PY = $(B)/venv/bin/python
SHARED ?= $(abspath ../shared)
ifneq ($(wildcard $(SHARED)/goldens),)
export QGUARD_SHARED ?= $(SHARED)
endif

# $(call build,FOLDER,MESON OPTIONS): configure once, then build; ninja itself notices later changes
define build
@mkdir -p $(1)
@[ -f $(1)/build.ninja ] || meson setup $(2) $(1) > $(1)/setup.log 2>&1 || { cat $(1)/setup.log; exit 1; }
@ninja -C $(1) -j$(J)
endef
SANITIZED = -Dbuildtype=debugoptimized -Db_lundef=false -Dfaults=true

comma := ,

.PHONY: wheel all setup-check build-asan demo check check-clients bench asan tsan fuzz lint deb install clean help

all: ## build build/qguard (sets up first: installs Debian packages that are missing)
	@tools/setup build
	$(call build,$(B))

demo: all ## judge the official examples with the built-in model
	@tools/demo $(B)/qguard

setup-check: all
	@tools/setup check lint
	@tools/venv $(B)/venv

check: setup-check build-asan ## run all tests; ends with `N passed, N failed` (PYJOBS=2: Python tests in two processes)
	@$(PY) tools/check --build $(B) --build $(B)/asan:unit,fuzz --pytest --jobs $(PYJOBS)

check-clients: setup-check ## the heavier tests with real clients
	@tools/setup clients
	@tools/venv $(B)/venv clients
	@$(PY) tools/check --pytest --heavy

bench: all ## measure beside what is installed in PEERS: make bench MODEL=DIR PEERS=DIR OUT=FILE.csv
	@$(if $(MODEL),python3 bench/compare.py --qguard $(B)/qguard --model $(MODEL) $(if $(PEERS),--peers $(PEERS)) \
	    $(if $(OUT),--out $(OUT)) $(BENCH_OPTS),$(B)/qguard bench $(BENCH_OPTS))

build-asan:
	@tools/setup build
	$(call build,$(B)/asan,-Db_sanitize=address$(comma)undefined $(SANITIZED))

asan: build-asan ## all meson tests under address and undefined-behaviour sanitizers, with the fault hook
	@python3 tools/check --build $(B)/asan

tsan: ## unit and fuzz tests under the thread sanitizer (kernels have no threads and would take hours)
	@tools/setup build
	$(call build,$(B)/tsan,-Db_sanitize=thread $(SANITIZED))
	@python3 tools/check --build $(B)/tsan:unit,fuzz

SEC ?= 60
fuzz: ## fuzz one door: make fuzz T=safetensors SEC=60
	@[ -f "tests/fuzz/fuzz_$(T).c" ] || { echo "make fuzz T=…: one of" $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)); exit 2; }
	@tools/setup build fuzz
	$(call build,$(B)/fuzz,--native-file tools/clang.ini -Dfuzz=true -Db_sanitize=address$(comma)undefined $(SANITIZED))
	@mkdir -p $(B)/fuzz/found/$(T)
	$(B)/fuzz/tests/fuzz/fuzz_$(T) -max_total_time=$(SEC) -timeout=10 -rss_limit_mb=2048 \
	    -artifact_prefix=$(B)/fuzz/found/$(T)- $(B)/fuzz/found/$(T) tests/fuzz/corpus/$(T)

lint: all ## the rules of the house (tools/lint)
	@tools/setup lint
	@python3 tools/lint --build $(B)

deb: all ## build/qguard_VERSION_ARCH.deb
	@packaging/deb/build $(B)

wheel: all ## build/wheel/qguard-*.whl, the Python package
	@tools/setup check
	@tools/wheel $(B)

install: all ## install command, library and header: make install PREFIX=/usr/local
	@meson configure $(B) -Dprefix=$(abspath $(PREFIX))
	@meson install -C $(B)

clean: ## remove what was built (the Python packages of the tests too)
	rm -rf $(B)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
