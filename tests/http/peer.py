"""A server of a test's own: it accepts connections and runs a script for each request on them."""
import contextlib
import socket
import threading


class Peer:
    """read(connection) gives a request, something false at the end; script(connection, request) answers, and closes the
    connection with False.  tls: an ssl.SSLContext.  requests and connections are what came so far."""

    def __init__(self, script, tls=None):
        self.script, self.tls = script, tls
        self.requests, self.connections = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.talk, args=(sock,), daemon=True).start()

    def wrap(self, sock):
        """What scripts and read() get of a connection."""
        return sock

    def lost(self):
        """The other side broke off."""

    def talk(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            conn = self.wrap(sock)
            while request := self.read(conn):
                self.requests.append(request)
                if self.script(conn, request) is False:
                    break
        except OSError:  # ssl.SSLError is one
            self.lost()
        sock.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(): close() alone leaves it listening
        self.listener.close()
