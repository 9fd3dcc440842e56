"""boto3 from PyPI: ApplyGuardrail of Amazon Bedrock, pointed at the guard."""
import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "http"), str(HERE)]
from heavy import BOMB, PATIENCE_S, SAFE, environment, without_proxies  # noqa: E402
from wire import Server  # noqa: E402

pytestmark = pytest.mark.heavy

SCRIPT = """
import json, os, sys
import boto3, botocore.exceptions
client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=sys.argv[1])
# its own bearer token (AWS_BEARER_TOKEN_BEDROCK) goes over https only
client.meta.events.register("before-call.bedrock-runtime.*",
                            lambda params, **_: params["headers"].update({"x-api-key": os.environ["GUARD_KEY"]}))
try:
    answer = client.apply_guardrail(guardrailIdentifier="g", guardrailVersion="DRAFT", source=sys.argv[2],
                                    content=[{"text": {"text": text}} for text in sys.argv[3:]])
    answer.pop("ResponseMetadata")
    print(json.dumps(answer))
except botocore.exceptions.ClientError as error:
    print(json.dumps(error.response["Error"]))
"""


@pytest.fixture(scope="module")
def apply(qguard, tmp_path_factory):
    python = environment("boto3", "boto3>=1.40") / "python"
    guard = Server([str(qguard), "serve", "--port", "0", "--quiet", "--api-key", "k"])
    script = tmp_path_factory.mktemp("bedrock") / "apply.py"
    script.write_text(SCRIPT)

    def run(source, *texts, key="k"):
        env = without_proxies(GUARD_KEY=key, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1")
        done = subprocess.run([python, script, f"http://127.0.0.1:{guard.port}", source, *texts], env=env, capture_output=True,
                              text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    yield run
    assert guard.stop() == 0


def test_apply_guardrail(apply):
    assert apply("INPUT", SAFE)["action"] == "NONE"
    blocked = apply("INPUT", SAFE, BOMB)
    assert blocked["action"] == "GUARDRAIL_INTERVENED" and blocked["outputs"]
    assert blocked["assessments"][0]["contentPolicy"]["filters"][0]["type"] == "VIOLENCE"
    assert apply("OUTPUT", "Paris is the capital of France.")["action"] == "NONE"
    assert apply("INPUT", SAFE, key="wrong") == {"Message": "Unauthorized", "Code": "AccessDeniedException"}
