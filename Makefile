# Thin front door: everything real is in meson.build and tools/.
B ?= build

$(B)/build.ninja: meson.build meson_options.txt
	@tools/setup
	@[ -f $@ ] || meson setup $(B) > $(B).log || { cat $(B).log; exit 1; }

.PHONY: all
all: $(B)/build.ninja
	@ninja -C $(B)
