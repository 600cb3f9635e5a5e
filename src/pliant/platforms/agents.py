"""The machine layer on other machines: an agent on each host, reached by OpenSSH, over one connection.

The user's own ssh does it, so that ~/.ssh/config, the ssh agent, jump hosts and known hosts hold here as they do for
`ssh HOST`; nothing is asked (BatchMode), and whoever a host key is new to has to look at it first.
"""

from __future__ import annotations

import base64
import codecs
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pliant.composition.nodeset import expand, natural_key
from pliant.errors import PliantError, UserError
from pliant.machine.agent import BOOTSTRAP, SIGN, bundle
from pliant.machine.answers import ANSWERS
from pliant.machine.conversation import Asked, Call, Conversation, Failed, Lost, quickest
from pliant.machine.journal import THERE
from pliant.machine.process import CommandFailed, Completed
from pliant.platforms import nxc
from pliant.platforms.own_ssh import ALIVE_S, as_root, asking_nobody, door

CONNECTING_AT_ONCE, BY_ONE_DOOR = 64, 10
"""How many connections are begun at the same time; and of those that the same sshd has to let in, that of a machine on
the way to all of them, say, which drops some once that many wait (MaxStartups, sshd_config(5))."""
CONNECT_S = 20.0
"""How long a host is given until its agent answers, without what it takes to send it the first time."""
ANSWER_S = 60.0
"""How long it is given to answer: most takes milliseconds, a node that is tried a second where nothing else runs."""
_CLOCK_ASKED = 3
"""How often a host is asked what time it is."""
_SLACK_S = 15.0
"""What an answer may take on its way, beyond the deadline of what was asked."""
_HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.:-]*", re.ASCII)
_REMEDIES = {
    "Permission denied": "`ssh {host}` has to work without a password: load a key into your ssh agent",
    "Host key verification failed": "say `ssh {host}` once and look at the key that it shows",
    "Could not resolve hostname": "write it as `ssh` knows it, or name it in ~/.ssh/config",
    "a password is required": "sudo has to work without one for this user (NOPASSWD in sudoers(5))",
    "a terminal is required": "sudo has to work without a password for this user (NOPASSWD in sudoers(5))",
    "python3": "install Python 3.9 or newer there: apt-get install python3",
}
"""What is said where a host cannot be reached -> what helps."""


Result = TypeVar("Result")


class HostError(PliantError):
    """A host that cannot be reached, or that could not do what it was asked; it is named."""


class HostLost(HostError):
    """A host to which there is no connection (any more)."""


def hosts_of(specs: Sequence[str]) -> tuple[str, ...]:
    """The hosts that are named, each once: "node[1-8]", "root@node1,node2", or "@FILE" with one on each line, as OAR
    writes it (repeated lines are one host), or a deployment file of nxc. UserError."""
    names: list[str] = []
    for spec in specs:
        try:
            if spec.startswith("@"):
                text = Path(spec[1:]).read_text(encoding="utf-8")
                names += nxc.hosts(text, spec[1:]) if text.lstrip().startswith("{") else text.split()
                continue
            user, at, rest = spec.rpartition("@")
            names += [f"{user}{at}{name}" for name in expand(rest)]
        except OSError as error:
            raise UserError(f"{spec[1:]}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"--host {spec}: {error}") from error
    for name in names:
        if not _HOST.fullmatch(name):
            raise UserError(f'"{name}" is not a name of a host')
    if not names:
        raise UserError(f"no host is named in {', '.join(specs)}")
    return tuple(sorted(set(names), key=natural_key))


def here(what: str, **given: Any) -> Any:
    """Do on this machine what `Agent.ask` has done on another."""
    return ANSWERS[what](**given)


class Agent:
    """One host's agent, over one connection that is begun here and ready after `begin`, which `with` calls.

    Several threads may ask it at the same time. `clock_s` is how far the host's clock is ahead of this one's, give or
    take `clock_within_s`, and `monotonic_s` the same of CLOCK_MONOTONIC. `serve` does what the agent asks for.
    `options` are more of ssh's own ("User=root"), which go before those of `config`.
    """

    def __init__(
        self,
        host: str,
        *,
        config: Path | None = None,
        options: Sequence[str] = (),
        timeout_s: float = CONNECT_S,
        serve: Callable[[Call], Any] = lambda call: None,
    ) -> None:
        self.host, self.timeout_s = host, timeout_s
        self.clock_s, self.clock_within_s, self.monotonic_s = 0.0, 0.0, 0.0
        self._signs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: list[str] = []
        try:
            self._ssh = subprocess.Popen(
                _command(host, config, options, bundle()[0], timeout_s),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for pliant, which ends what it asked for
            )
        except FileNotFoundError:
            raise UserError("ssh is not there: apt-get install openssh-client") from None
        assert self._ssh.stdin is not None
        self._conversation = Conversation(self._ssh.stdin, serve, step=1)
        self._listening = [threading.Thread(target=each, daemon=True) for each in (self._listen, self._overhear)]
        for thread in self._listening:
            thread.start()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._conversation.over.is_set()

    def close(self) -> None:
        """End the connection, and with it the agent and what it was running."""
        with suppress(OSError):
            assert self._ssh.stdin is not None
            self._ssh.stdin.close()
        try:
            self._ssh.wait(2)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()
        for thread, pipe in zip(self._listening, (self._ssh.stdout, self._ssh.stderr), strict=True):
            thread.join(2)  # whatever ssh has left in the background (ControlPersist) may hold them open
            if pipe is not None and not thread.is_alive():
                pipe.close()

    def cut(self) -> None:
        """End the connection at once, and do not wait for anything."""
        self._ssh.kill()
        self._ssh.wait()

    def ask(self, what: str, *, timeout_s: float = ANSWER_S, **given: Any) -> Any:
        """Have it do one of what the agent knows (see `machine.answers` and `machine.serving`); HostError."""
        return self._exchange(what, given, timeout_s, lambda stream, data: None)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: str = "",
        heard: Callable[[str, str], None] = lambda stream, text: None,
        where: str = "",
        **given: Any,
    ) -> Completed:
        """Run a program on the host, as root, or where `given` says (see `Serving.do_run`); `heard` is given what it
        prints as it comes: "stdout" or "stderr", text.

        Raises HostError, and CommandFailed at the deadline.
        """
        printed: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in printed}

        def listen(stream: str, data: bytes) -> None:
            printed[stream].append(data)
            if text := decoders[stream].decode(data):
                heard(stream, text)

        asked = {"argv": list(argv), "stdin": stdin, **given}
        status = self._exchange("run", asked, timeout_s, listen)
        out, err = (b"".join(printed[stream]).decode(errors="replace") for stream in ("stdout", "stderr"))
        if status is None:
            raise CommandFailed(argv, None, out, err, where or self.host)
        return Completed(tuple(argv), status, out, err, where or self.host)

    def begin_asking(self, what: str, given: Mapping[str, Any]) -> Asked:
        """Begin what takes as long as it takes, and is listened to by the caller; HostError."""
        try:
            return self._conversation.ask(what, None, given)
        except Lost:
            raise self._why() from None

    def begin(self) -> None:
        """Wait for the agent, give it to the host if that has not got it, and compare clocks; closed if that fails.

        Raises HostError if the host cannot be reached, or does not answer within `timeout_s` at each of these.
        """
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        sign = self._sign()
        if sign == "send":
            _, packed = bundle()
            # A host that stops taking it in would hold this up for ever.
            patience = threading.Timer(self.timeout_s, self._ssh.kill)
            patience.start()
            try:
                assert self._ssh.stdin is not None
                self._ssh.stdin.write(b"%d\n%b" % (len(packed), packed))
                self._ssh.stdin.flush()
                sign = self._sign()
            except OSError:
                raise self._why() from None
            finally:
                patience.cancel()
        if sign != "ready":
            raise HostError(f"{self.host}: {sign.removeprefix('failed: ')}")
        self.compare_clocks()

    def compare_clocks(self) -> None:
        """Find out how far the host's clocks are from this machine's. HostError."""
        there, at_s, within_s = quickest(lambda: self.ask("hello", timeout_s=self.timeout_s), _CLOCK_ASKED)
        self.clock_within_s, self.monotonic_s = within_s, there["monotonic_s"] - at_s
        self.clock_s = there["time_s"] - (at_s + time.time() - time.monotonic())

    def _sign(self) -> str:
        """What the beginning of an agent says of itself."""
        try:
            sign = self._signs.get(timeout=self.timeout_s)
        except queue.Empty:
            raise HostError(f"{self.host}: does not answer: waited {self.timeout_s:.0f} s for its agent") from None
        if not sign:
            raise self._why()
        return sign

    def _exchange(
        self, what: str, given: Mapping[str, Any], timeout_s: float, heard: Callable[[str, bytes], None]
    ) -> Any:
        until = time.monotonic() + timeout_s + _SLACK_S
        cancel = True
        asked: Asked | None = None
        try:
            asked = self._conversation.ask(what, timeout_s, given)
            while True:
                answer = asked.next(until)
                if "done" in answer:
                    cancel = False
                    return answer["done"]
                if "stream" in answer:
                    heard(answer["stream"], base64.b64decode(answer["data"]))
        except Failed as error:
            cancel = False
            raise HostError(f"{self.host}: {error}") from None
        except Lost:
            cancel = False
            raise self._why() from None
        except queue.Empty:
            raise HostError(f"{self.host}: did not answer in {timeout_s + _SLACK_S:.0f} s: {what}") from None
        finally:
            if asked is not None:
                asked.end(cancel=cancel)

    def _listen(self) -> None:
        """Hear what the agent says; what a login prints before it begins is passed over."""
        assert self._ssh.stdout is not None

        def odd(text: str) -> None:
            if text.startswith(SIGN):
                self._signs.put(text.removeprefix(SIGN))

        self._conversation.listen(self._ssh.stdout, odd)
        self._signs.put("")

    def _overhear(self) -> None:
        """Keep the last that ssh and the other side complain of."""
        assert self._ssh.stderr is not None
        for line in self._ssh.stderr:
            self._said = [*self._said, line.decode(errors="replace").strip()][-20:]

    def _why(self) -> HostError:
        """Why there is no connection, in the words of ssh, and what helps."""
        with suppress(subprocess.TimeoutExpired):
            self._ssh.wait(2)
        self._listening[1].join(2)
        said = next((line for line in reversed(self._said) if line), "the connection ended")
        remedy = next((help_ for words, help_ in _REMEDIES.items() if words in said), "")
        return HostLost(f"{self.host}: {said}{f'; {remedy.format(host=self.host)}' if remedy else ''}")


def connect(
    hosts: Sequence[str],
    *,
    config: Path | None = None,
    options: Sequence[str] = (),
    timeout_s: float = CONNECT_S,
    told: Callable[[str], None] = lambda host: None,
    serve: Callable[[Call], Any] = lambda call: None,
) -> dict[str, Agent | HostError]:
    """Host -> its agent, or why there is none; `told` of each as it is known. `config` is for ssh -F, `options` for -o;
    `serve` does what agents ask for."""
    begun: list[Agent] = []
    doors: dict[str, threading.Semaphore] = {}

    def one(host: str) -> Agent | HostError:
        same = door(host, config, options) if len(hosts) > BY_ONE_DOOR else ""
        with doors.setdefault(same, threading.Semaphore(BY_ONE_DOOR)):
            agent = Agent(host, config=config, options=options, timeout_s=timeout_s, serve=serve)
            begun.append(agent)
            try:
                agent.begin()
            except HostError as error:
                return error
            finally:
                told(host)
            return agent

    with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
        try:
            return dict(zip(hosts, pool.map(one, hosts), strict=True))
        except BaseException:  # Ctrl-C: nobody is waited for any more
            pool.shutdown(wait=False, cancel_futures=True)
            close(begun)
            raise


def on_each(agents: Mapping[str, Agent | HostError], do: Callable[[Agent], Result]) -> dict[str, Result | HostError]:
    """Do something on all hosts at the same time: host -> what came of it, or why nothing did."""

    def one(agent: Agent | HostError) -> Result | HostError:
        if isinstance(agent, HostError):
            return agent
        try:
            return do(agent)
        except HostError as error:
            return error

    with ThreadPoolExecutor(max(1, len(agents))) as pool:
        try:
            return dict(zip(agents, pool.map(one, agents.values()), strict=True))
        except BaseException:
            close(agents.values())
            raise


def close(agents: Iterable[Agent | HostError]) -> None:
    """End connections, all at the same time."""
    there = [each for each in agents if isinstance(each, Agent)]
    with ThreadPoolExecutor(max(1, len(there))) as pool:
        list(pool.map(Agent.close, there))


def _command(host: str, config: Path | None, own: Sequence[str], digest: str, timeout_s: float) -> list[str]:
    """How ssh is called; the text for the other side holds whatever shell its user has."""
    code = base64.b64encode(BOOTSTRAP.encode()).decode()
    python = f'python3 -I -c "import base64;exec(base64.b64decode(\'{code}\'))" {digest} {THERE} "$SSH_CONNECTION"'
    start = asking_nobody(config, own, connect_s=timeout_s, alive_s=ALIVE_S)
    return [*start, "--", host, as_root(python)]
