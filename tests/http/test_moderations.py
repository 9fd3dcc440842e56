"""POST /v1/moderations: input forms, 13 categories in 3 maps, scores that agree with the flag."""
import pytest
from protocols import FAILURES, MAYBE, ask, post

PATH = "/v1/moderations"
OPENAI = ["harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
          "illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "sexual",
          "sexual/minors", "violence", "violence/graphic"]
OWN = ["violent", "non_violent_illegal_acts", "sexual_content", "pii", "suicide_self_harm",
       "unethical_acts", "politically_sensitive", "copyright", "jailbreak"]
# what each category sets: CONTRACTS 0.2 and, in brackets, 14.5
SETS = [["violence", "illicit/violent"], ["illicit"], ["sexual"], ["(illicit)"], ["self-harm"],
        ["harassment", "hate"], ["(harassment)"], ["(illicit)"], ["(illicit)"]]


def check(result, keys=OPENAI + OWN):
    assert set(result) == {"flagged", "categories", "category_scores", "category_applied_input_types"}
    for name in ("categories", "category_scores", "category_applied_input_types"):
        assert set(result[name]) == set(keys)
    assert all(isinstance(v, bool) for v in result["categories"].values())
    assert all(0 <= v <= 1 for v in result["category_scores"].values())
    assert all(v == ["text"] for v in result["category_applied_input_types"].values())
    for key, hit in result["categories"].items():
        assert (result["category_scores"][key] > 0.5) == hit
    return result


def one(server, text, **more):
    got = ask(server, PATH, {"input": text, **more})
    assert len(got["results"]) == 1
    return check(got["results"][0])


def true_keys(result):
    return {k for k, v in result["categories"].items() if v}


def test_answer(server):
    got = ask(server, PATH, {"input": "bomb", "model": "omni-moderation-latest"},
              headers=["X-Request-Id: 9c1e"])
    assert got["id"] == "modr-9c1e" and got["model"] == "omni-moderation-latest"
    result = check(got["results"][0])
    assert result["flagged"] is True
    assert true_keys(result) == {"violent", "violence", "illicit/violent"}
    assert result["category_scores"]["violence"] == pytest.approx(0.9 * 0.96875)
    assert list(result["categories"])[0] == "violent"  # the first true key names the violation
    safe = one(server, "hi")
    assert safe["flagged"] is False and not true_keys(safe)
    assert ask(server, PATH, {"input": "hi"})["model"] == "fake-guard"


@pytest.mark.parametrize("i", range(9))
def test_categories(server, serve, i):
    text = f"unsafe={i}"
    wide = {k.strip("()") for k in SETS[i]}
    assert true_keys(one(server, text)) == wide | {OWN[i]}
    assert one(server, text)["flagged"]


def test_bare_mapping_without_own_keys(serve):
    server = serve("--bare-categories", 1, "--no-own-categories", 1)
    for i in range(9):
        result = check(ask(server, PATH, {"input": f"unsafe={i}"})["results"][0], OPENAI)
        assert result["flagged"]
        assert true_keys(result) == {k for k in SETS[i] if k[0] != "("}


def test_hit_without_category(server):
    result = one(server, "unsafe=9")
    assert result["flagged"] and true_keys(result) == {"illicit"}


@pytest.mark.parametrize("given, n", [
    ("hi", 1), ("", 1), (["hi"], 1), (["bomb", "hi", "bomb", MAYBE], 4), ([], 0),
    ([{"type": "text", "text": "bo"}, {"type": "text", "text": "mb"}], 1), (["bomb"] * 300, 300)])
def test_input_forms(server, given, n):
    results = ask(server, PATH, {"input": given})["results"]
    assert len(results) == n
    if n == 1 and given and isinstance(given[0], dict):
        assert results[0]["flagged"]
    elif isinstance(given, list):
        assert [r["flagged"] for r in results] == [t != "hi" for t in given]


@pytest.mark.parametrize("model, ok", [
    ("omni-moderation-latest", True), ("omni-moderation-2024-09-26", True),
    ("text-moderation-latest", True), ("text-moderation-stable", True), ("fake-guard", True),
    (None, True), ("", True), ("gpt-4", False)])
def test_models(server, model, ok):
    answer = post(server, PATH, {"input": "hi", "model": model})
    assert answer.status == (200 if ok else 404)
    assert ok or answer.error["code"] == "model_not_found"


def test_strict_and_loose(server):
    assert one(server, MAYBE)["flagged"] and one(server, MAYBE, policy="strict")["flagged"]
    loose = one(server, MAYBE, policy="loose")
    assert not loose["flagged"] and not true_keys(loose)
    assert one(server, "bomb", policy="loose")["flagged"]
    assert post(server, PATH, {"input": "hi", "policy": "lax"}).status == 400


@pytest.mark.parametrize("p, policy, flagged", [
    ("0.4,0.35,0.25", "strict", False),  # Safe is the most probable, the others together are more
    ("0.3,0.36,0.34", "strict", True), ("0.3,0.36,0.34", "loose", False),
    ("0.3,0.34,0.36", "loose", True), ("0.34,0.33,0.33", "strict", False)])
def test_scores_agree_with_the_flag(server, p, policy, flagged):
    """CONTRACTS 14.6: a hit has a score above 0.5, a pass none; check() looks at each key."""
    result = one(server, f"unsafe=0 prob={p}", policy=policy)
    assert result["flagged"] == flagged
    assert (max(result["category_scores"].values()) > 0.5) == flagged


@pytest.mark.parametrize("body, param", [
    ({}, "body.input"), ({"input": None}, "body.input"), ({"input": 5}, "body.input"),
    ({"input": ["a", 5]}, "body.input.1"), ({"input": [["a"]]}, "body.input.0"),
    ({"input": [{"type": "image_url", "image_url": {"url": "x"}}]}, "body.input.0.type"),
    ({"input": ["x"] * 2049}, "body.input"), ({"input": "x", "model": 5}, "body.model")])
def test_bad_requests(server, body, param):
    answer = post(server, PATH, body)
    assert answer.status == 400 and answer.error["param"] == param


@pytest.mark.parametrize("text, status", FAILURES)
def test_failures_are_never_verdicts(server, text, status):
    for given in (text, ["hi", text, "hi"], ["hi"] * 100 + [text] + ["hi"] * 100):
        answer = post(server, PATH, {"input": given})
        assert answer.status == status and "results" not in answer.json()


def test_generated_text_that_is_no_verdict(serve):
    server = serve("--decode", "generate")
    answer = post(server, PATH, {"input": "garbled"})
    assert answer.status == 500 and answer.headers["x-should-retry"] == "false"
    assert ask(server, PATH, {"input": "bomb"})["results"][0]["flagged"]


def test_a_client_that_hangs_up_cancels_them_all(serve):
    from wire import request
    server = serve("--max-jobs", 100)
    with server.open() as raw:
        raw.send(request("POST", PATH, b'{"input":[%s]}' % b",".join([b'"sleep=60000"'] * 300)))
        while ask(server, "/v1/guard", {"prompt": "hi"}) and server.get("/load").json()["server_load"] < 64:
            pass
    while server.get("/load").json()["server_load"]:
        pass
    assert ask(server, PATH, {"input": ["bomb"] * 200})["results"][199]["flagged"]
