"""Judges a reply while it is written, over one WebSocket.

    python socket_client.py URL PROMPT REPLY [API_KEY]
"""
import json
import sys

from websockets.sync.client import connect


def verdict(socket):
    """What the last message comes to, behind the lines of its tokens."""
    while True:
        line = json.loads(socket.recv(timeout=60))
        if "error" in line:
            raise RuntimeError(line["error"]["message"])
        if "summary" in line:
            return line["summary"]


def ask(socket, **line):
    socket.send(json.dumps(line))
    return verdict(socket)


def pieces(text, n=8):
    """Stands for the model that writes the reply."""
    for i in range(0, len(text), n):
        yield text[i:i + n]


def main(url, prompt, reply, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with connect(f"{url}/v1/moderations/ws", additional_headers=headers) as socket:
        said = ask(socket, role="user", content=prompt, end=True)
        print("prompt:", said["severity"], said["category"])
        for piece in pieces(reply):
            said = ask(socket, role="assistant", content=piece)
            if said["flagged"]:
                break
            print("passed:", piece)
        else:
            said = ask(socket, end=True)
        print("reply:", said["severity"], said["category"], "at", said["range"])


if __name__ == "__main__":
    main(*sys.argv[1:])
