"""What the demonstration model may answer, and how an answer is written."""

SEVERITIES = ("Safe", "Unsafe", "Controversial")
CATEGORIES = (
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
    "Jailbreak",
)
# The order of the Stream model's heads, and the short names of its configuration; replies have no Jailbreak.
STREAM_NAMES = {
    "Violent": "Violent",
    "Sexual Content or Sexual Acts": "Sexual Content",
    "Suicide & Self-Harm": "Self-Harm",
    "Politically Sensitive Topics": "Political",
    "PII": "PII",
    "Copyright Violation": "Copyright",
    "Non-violent Illegal Acts": "Illegal Acts",
    "Unethical Acts": "Unethical",
    "Jailbreak": "Jailbreak",
}
STREAM_CATEGORIES = tuple(STREAM_NAMES)
NONE = "None"
REFUSALS = ("Yes", "No")

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK_TOKENS = ("<think>", "</think>")


def pieces(severity, category, refusal=None):
    """The answer cut where a choice begins; labels are the odd elements."""
    out = ["Safety:", " " + severity, "\nCategories:", " " + category]
    if refusal is not None:
        out += ["\nRefusal:", " " + refusal]
    return out


def answer(severity, category, refusal=None):
    return "".join(pieces(severity, category, refusal))
