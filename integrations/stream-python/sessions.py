"""Judges a reply while it is written, with one request for each piece of it.

    python sessions.py URL PROMPT REPLY [API_KEY]
"""
import sys

import requests


class Session:
    """A conversation on a qguard server."""

    def __init__(self, url, prompt, key=None):
        self.http = requests.Session()
        if key:
            self.http.headers["Authorization"] = f"Bearer {key}"
        made = self._post(f"{url}/v1/moderations/sessions",
                          {"messages": [{"role": "user", "content": prompt}], "role": "assistant"})
        self.url = f"{url}/v1/moderations/sessions/{made['id']}"
        self.prompt = made["summary"]

    def _post(self, url, body):
        answer = self.http.post(url, json=body, timeout=60)
        if not answer.ok:
            raise RuntimeError(answer.json()["error"]["message"])
        return answer.json()

    def add(self, piece):
        """Verdict on the reply so far; its end may change with the text to come."""
        return self._post(self.url, {"content": piece})["summary"]

    def end(self):
        """Verdict on the whole reply."""
        return self._post(self.url, {"end": True})["summary"]

    def close(self):
        self.http.delete(self.url, timeout=60)
        self.http.close()


def pieces(text, n=8):
    """Stands for the model that writes the reply."""
    for i in range(0, len(text), n):
        yield text[i:i + n]


def main(url, prompt, reply, key=None):
    session = Session(url, prompt, key)
    try:
        print("prompt:", session.prompt["severity"], session.prompt["category"])
        for piece in pieces(reply):
            verdict = session.add(piece)
            if verdict["flagged"]:
                break
            print("passed:", piece)
        else:
            verdict = session.end()
        print("reply:", verdict["severity"], verdict["category"], "at", verdict["range"])
    finally:
        session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
