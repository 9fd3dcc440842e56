"""Runs in NeMo's own environment: `nemo_rails.py GUARD_URL MODEL_URL NAME RAIL TEXT` prints the reply."""
import sys

from nemoguardrails import LLMRails, RailsConfig

guard, model, name, rail, text = sys.argv[1:]
main = f"""
models:
  - {{type: main, engine: openai, model: good, parameters: {{base_url: "{model}/v1", api_key: "sk-up"}}}}
"""
content_safety = main + f"""
  - {{type: guard, engine: openai, model: {name}, parameters: {{base_url: "{guard}/v1", api_key: "none"}}}}
rails:
  input: {{flows: ["content safety check input $model=guard"]}}
  output: {{flows: ["content safety check output $model=guard"]}}
prompts:
  - task: content_safety_check_input $model=guard
    messages: [{{type: user, content: "{{{{ user_input }}}}"}}]
    output_parser: is_content_safe
    max_tokens: 64
  - task: content_safety_check_output $model=guard
    messages: [{{type: user, content: "{{{{ user_input }}}}"}}, {{type: assistant, content: "{{{{ bot_response }}}}"}}]
    output_parser: is_content_safe
    max_tokens: 64
"""
labels = "[qwen3guard_unsafe, qwen3guard_controversial]" if rail == "fms" else "[Unsafe, Controversial]"
classifier = main + f"""
rails:
  input: {{flows: ["hf classifier check input $classifier=qg"]}}
  config:
    hf_classifier:
      qg: {{engine: {rail}, model: {name}, base_url: "{guard}", threshold: 0.5, blocked_labels: {labels}}}
"""
rails = LLMRails(RailsConfig.from_content(yaml_content=content_safety if rail == "content" else classifier))
print("REPLY:", rails.generate(messages=[{"role": "user", "content": text}])["content"])
