"""Severity as a classifier's label: /classify (vLLM), /predict (TEI), :predict (KServe)."""
import pytest
from protocols import FAILURES, MAYBE, ask, post, reply


def test_classify(server):
    got = ask(server, "/classify", {"model": "fake-guard", "input": ["hi", "bomb", MAYBE]})
    assert got["object"] == "list" and got["id"].startswith("classify-")
    assert [d["label"] for d in got["data"]] == ["Safe", "Unsafe", "Controversial"]
    assert [d["index"] for d in got["data"]] == [0, 1, 2] and got["data"][1]["num_classes"] == 3
    assert got["data"][1]["probs"] == [0.03125, 0.09375, 0.875]  # Safe, Controversial, Unsafe
    assert got["usage"] == {"prompt_tokens": 13, "total_tokens": 13, "completion_tokens": 0,
                            "prompt_tokens_details": None}
    assert ask(server, "/classify", {"input": "bomb"})["data"][0]["label"] == "Unsafe"
    assert ask(server, "/classify", {"messages": reply("bomb")})["data"][0]["label"] == "Unsafe"
    assert post(server, "/classify", {"input": 5}).status == 400
    assert post(server, "/classify", {"input": "x", "model": "nope"}).status == 404


def test_predict(server):
    got = ask(server, "/predict", {"inputs": "bomb", "truncate": False, "raw_scores": False})
    assert got == [{"label": "Unsafe", "score": 0.875}, {"label": "Controversial", "score": 0.09375},
                   {"label": "Safe", "score": 0.03125}]
    pair = ask(server, "/predict", {"inputs": ["hi", "bomb"]})  # one pair, not a batch
    assert pair == got
    batch = ask(server, "/predict", {"inputs": [["bomb"], ["bomb", "hi"], ["hi"]]})
    assert [one[0]["label"] for one in batch] == ["Unsafe", "Safe", "Safe"]


@pytest.mark.parametrize("body", [{}, {"inputs": 5}, {"inputs": ["a", "b", "c"]}, {"inputs": []},
                                  {"inputs": [["a"], [5]]}, {"inputs": [["a"], "b"]}])
def test_predict_errors(server, body):
    answer = post(server, "/predict", body)
    if answer.status == 200:  # a batch may mix texts and pairs
        assert body == {"inputs": [["a"], "b"]}
        return
    assert answer.status == 422 and set(answer.json()) == {"error", "error_type"}
    assert answer.json()["error_type"] == "Validation"


@pytest.mark.parametrize("text, status", FAILURES)
def test_predict_failures(server, text, status):
    answer = post(server, "/predict", {"inputs": text})
    want = {"toolong": (413, "Validation"), "template": (422, "Validation"), "busy": (429, "Overloaded"),
            "nan": (500, "Backend")}[text]
    assert (answer.status, answer.json()["error_type"]) == want


def test_info(server):
    got = server.get("/info").json()
    assert got["model_id"] == "fake-guard" and got["max_input_length"] == 4096
    assert got["model_type"]["classifier"]["id2label"] == {"0": "Safe", "1": "Controversial", "2": "Unsafe"}


def test_kserve(server):
    got = ask(server, "/v1/models/fake-guard:predict", {"instances": ["hi", "bomb"]})
    assert [max(p, key=p.get) for p in got["predictions"]] == ["Safe", "Unsafe"]
    assert got["predictions"][1] == {"Safe": 0.03125, "Controversial": 0.09375, "Unsafe": 0.875}


def test_load(server):
    assert server.get("/load").json() == {"server_load": 0}


def test_pooling(server):
    got = ask(server, "/pooling", {"model": "fake-guard", "input": ["hi", "bomb"], "task": "classify", "encoding_format": "float"})
    assert got["object"] == "list" and got["id"].startswith("pool-")
    assert got["data"][1] == {"index": 1, "object": "pooling", "data": [0.03125, 0.09375, 0.875]}  # Safe, Controversial, Unsafe
    assert ask(server, "/pooling", {"messages": reply("bomb"), "task": None})["data"][0]["data"][2] == 0.875
    for wrong in ({"task": "embed"}, {"encoding_format": "base64"}, {"input": 5}, {"task": 3}):
        assert post(server, "/pooling", {"input": "x", **wrong}).status == 400, wrong
