"""What the measuring scripts of servers share: starting one, and writing a row of CSV."""
import pathlib
import re
import subprocess
import tempfile
import time


def row(workload, metric, value, unit, notes=""):
    """As `qguard bench` writes them: engine,version,dtype,workload,metric,value,unit,threads,notes."""
    print(f"qguard,,,{workload},{metric},{value:.4g},{unit},,{notes}", flush=True)


class Server:
    """A server, from its first "http://...:PORT" on the log (a file) to its end; .port is that port."""

    def __init__(self, command):
        self.log = tempfile.NamedTemporaryFile("r")
        with open(self.log.name, "w") as out:
            self.process = subprocess.Popen([str(word) for word in command], stderr=out)
        for _ in range(1200):
            said = pathlib.Path(self.log.name).read_text()
            if found := re.search(r"listening on http://\S+:(\d+)", said):
                self.port = int(found[1])
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        raise SystemExit(f"{command[0]} did not start: {said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(90)
        self.log.close()
