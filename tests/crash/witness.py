"""Where the jobs of the matrix say that they are alive: the one witness that neither driver nor sandbox can bend.

A job opens a TCP connection to it for every word it says, until that was heard: ``begin``, ``beat``, … ``end``, each
with the trial, the machine and the copy of the command that speaks. Two copies that are alive at once are two running
copies.
"""

from __future__ import annotations

import socketserver
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Copy:
    """One start of a job's command."""

    machine: str
    nonce: str
    began: float
    last: float
    words: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return "end" in self.words


class Witness:
    """Listens on loopback; ``copies(trial)`` is what it has heard."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[str, Copy]] = defaultdict(dict)
        self._lock = threading.Lock()
        witness = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                words = self.rfile.readline().decode(errors="replace").split()
                if len(words) == 4:
                    witness.hear(*words)
                    self.wfile.write(b"heard\n")

        class Server(socketserver.ThreadingTCPServer):
            request_queue_size = 1024  # on a busy host five would be full, and a word without a trace gone
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def hear(self, trial: str, machine: str, nonce: str, word: str) -> None:
        now = time.time()
        with self._lock:
            copy = self._heard[trial].setdefault(nonce, Copy(machine, nonce, now, now))
            copy.last = now
            copy.words.append(word)

    def copies(self, trial: str) -> list[Copy]:
        """All starts of the trial's command, the first one first."""
        with self._lock:
            return sorted(self._heard[trial].values(), key=lambda copy: copy.began)

    def said(self, trial: str, word: str) -> int:
        """How often any copy has said this."""
        return sum(copy.words.count(word) for copy in self.copies(trial))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def command(port: int, trial: str, beats: int) -> str:
    """A job that lives for ``beats`` beats of 0.3 s and then leaves an output of two parts that belong together."""
    return f"""
exec 2>&1
nonce=$(head -c 9 /dev/urandom | base64 | tr -dc a-zA-Z0-9)
say() {{
  for _ in 1 2 3 4 5; do
    (
      exec 3<>/dev/tcp/127.0.0.1/{port} && echo "{trial} ${{SKY_SANDBOX_MACHINE:-?}} $nonce $1" >&3 &&
        read -r -t 10 -u 3
    ) 2>/dev/null && return
  done
  return 0
}}
say begin
for i in $(seq {beats}); do sleep 0.3; say beat; done
mkdir -p "$SKY_OUTPUT_DATA"
for part in a b; do
  {{ echo "$nonce"; head -c 30000 /dev/zero | tr '\\0' x; echo; echo "END $nonce"; }} >"$SKY_OUTPUT_DATA/$part"
done
say end
"""
