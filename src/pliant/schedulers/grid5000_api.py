"""Grid'5000's REST API as requests and answers: deadlines, retries, pages, and each refusal in one sentence.

Only what changes nothing is repeated by itself. Whoever posts is told whether an unanswered request may have been
carried out, and looks before asking again.
"""

from __future__ import annotations

import getpass
import importlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from pliant.errors import UserError
from pliant.schedulers.front import NoAnswerError
from pliant.schedulers.grid5000_credentials import FILE, Credentials
from pliant.schedulers.interface import SchedulerError

BASE = "https://api.grid5000.fr/stable"
BASE_VARIABLE = "PLIANT_GRID5000_API"
"""The variable of the environment that names another base: of a mirror, or of what is played in tests."""
PAGE = 50
"""How many items the API gives at once unless asked for more."""

_CONNECT_S = 5.0
_MOST_BYTES = 64 * 2**20
_MOST_PAGES = 40
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_MOST_SAID = 500
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def base_of(env: Mapping[str, str]) -> str:
    """The API's address, as an environment names it or the testbed's own."""
    return env.get(BASE_VARIABLE) or BASE


class Refused(SchedulerError):
    """The API's answer is no. `status` is HTTP's, `said` the API's own text, on one line and cut."""

    def __init__(self, sentence: str, status: int, said: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.said = said


class Unanswered(NoAnswerError):
    """No answer, or none that can be used. `perhaps_done` is whether the request may have been carried out."""

    def __init__(self, sentence: str, perhaps_done: bool) -> None:
        super().__init__(sentence)
        self.perhaps_done = perhaps_done


@dataclass(frozen=True)
class _Answer:
    """What came back: HTTP's status and the text; or, without a status, why nothing did, if what was asked may have
    got there, and whether asking again could help."""

    status: int = 0
    text: str = ""
    why: str = ""
    sent: bool = True
    passing: bool = True


class Api:
    """One user's way to the API at `base`. A call takes `deadline_s` at most, its repetitions included.

    What only reads is asked again if there is no answer for `answer_s`; what changes something waits all the time.
    """

    def __init__(
        self,
        base: str = BASE,
        credentials: Credentials | None = None,
        *,
        deadline_s: float = 20.0,
        answer_s: float = 8.0,
        pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{BASE_VARIABLE} is no address of an API; write e.g. {BASE}")
        if parts.username is not None or parts.password is not None:
            raise UserError(f"{BASE_VARIABLE} has a user in it, which others would see; write credentials into {FILE}")
        if credentials is not None and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise UserError(f"{base} is not encrypted: a password is sent to https:// only")
        self.base = base.rstrip("/")
        self.credentials = credentials
        self._deadline_s = deadline_s
        self._answer_s = answer_s
        self._pause_s = pause_s
        self._requests = _library()

    @property
    def user(self) -> str:
        """Who asks: whom the credentials name, or who is logged in, as on a front end."""
        return self.credentials.username if self.credentials else getpass.getuser()

    def url(self, path: str) -> str:
        """The full address of e.g. "sites/nancy/jobs"."""
        return f"{self.base}/{quote(path, safe='/-._~')}"

    def get(self, path: str, **query: object) -> Any:
        """The JSON there. What fails for the moment is asked again, until the deadline."""
        until = time.monotonic() + self._deadline_s
        pause_s = self._pause_s
        while True:
            left_s = min(self._answer_s, until - time.monotonic())
            answer = self._once("GET", path, left_s, query=query)
            problem = self._problem("GET", path, answer)
            if problem is None:
                parsed = _parsed(answer.text)
                if parsed is not _TORN:
                    return parsed
                problem = Unanswered(f"what {self.url(path)} answers is no JSON, or not all of it", False)
            passing = isinstance(problem, Unanswered) or answer.status == 429
            if not passing or not answer.passing or time.monotonic() + pause_s >= until:
                raise problem
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def items(self, path: str, **query: object) -> list[Mapping[str, Any]]:
        """All items of a listing, page after page."""
        found: list[Mapping[str, Any]] = []
        for _ in range(_MOST_PAGES):
            page = self.get(path, **query, offset=len(found), limit=PAGE)
            items = page.get("items") if isinstance(page, Mapping) else None
            if not isinstance(items, list) or not all(isinstance(each, Mapping) for each in items):
                raise SchedulerError(f"what {self.url(path)} answers is no listing")
            found += items
            total = page.get("total")
            if not items or (len(found) >= total if isinstance(total, int) else len(items) < PAGE):
                return found
        raise SchedulerError(f"{self.url(path)} lists more than {_MOST_PAGES * PAGE} items: ask for fewer")

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Post JSON, once; what is answered, parsed if it is JSON, as a text if not.

        Raises Refused, or Unanswered, which says whether it may have been done.
        """
        answer = self._once("POST", path, self._deadline_s, body=body)
        if problem := self._problem("POST", path, answer):
            raise problem
        parsed = _parsed(answer.text)
        return answer.text.strip() if parsed is _TORN else parsed

    def delete(self, path: str) -> None:
        """Ask for a deletion, once."""
        answer = self._once("DELETE", path, self._deadline_s)
        if problem := self._problem("DELETE", path, answer):
            raise problem

    def _once(
        self,
        method: str,
        path: str,
        left_s: float,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> _Answer:
        """One request, abandoned when its time is over: an answer that trickles would outlast any socket's timeout."""
        left_s = max(0.1, left_s)
        done: list[_Answer] = []
        worker = threading.Thread(target=lambda: done.append(self._ask(method, path, left_s, query, body)), daemon=True)
        worker.start()
        worker.join(left_s)
        return done[0] if done else _Answer(why=f"no whole answer within {left_s:.3g} s")

    def _ask(
        self,
        method: str,
        path: str,
        left_s: float,
        query: Mapping[str, object] | None,
        body: Mapping[str, object] | None,
    ) -> _Answer:
        """What comes back of one request. Its errors end here: they hold the request, and that the password."""
        errors = self._requests.exceptions
        try:
            with (
                self._requests.Session() as session,
                session.request(
                    method,
                    self.url(path),
                    params=query,
                    json=body,
                    headers={"Accept": "application/json, text/plain", "Cache-Control": "no-cache"},
                    # Always one's own: without, `requests` would look for a password in ~/.netrc.
                    auth=self.credentials.sign if self.credentials else _unsigned,
                    verify=self.credentials.verify if self.credentials else True,
                    timeout=(min(_CONNECT_S, left_s), left_s),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                return _read(response, self._hidden)
        except errors.SSLError as error:
            return _Answer(why=self._hidden(_reason(error)), sent=False, passing=False)
        except errors.ConnectTimeout as error:
            return _Answer(why=self._hidden(_reason(error)), sent=False)
        except errors.ConnectionError as error:
            # urllib3 says so of what never got a connection; anything else may have arrived.
            return _Answer(why=self._hidden(_reason(error)), sent="NewConnectionError" not in repr(error))
        except errors.RequestException as error:
            return _Answer(why=self._hidden(_reason(error)))

    def _hidden(self, text: str) -> str:
        return self.credentials.without(text) if self.credentials else text

    def _problem(self, method: str, path: str, answer: _Answer) -> SchedulerError | None:
        """What is wrong with an answer, as the error to raise; None if nothing is."""
        if not answer.status:
            sentence = f"Grid'5000's API does not answer ({method} {self.url(path)}): {answer.why}"
            return Unanswered(sentence, answer.sent)
        if 200 <= answer.status < 300:
            return None
        said = _one_line(answer.text)
        what = _SENTENCES.get(answer.status, _other)(self, path)
        sentence = f"{what} ({answer.status} for {method} {self.url(path)}){': ' if said else ''}{said}"
        if answer.status >= 500:
            return Unanswered(sentence, True)
        return Refused(sentence, answer.status, said)


def _library() -> Any:
    """The library `requests`, which is installed for this testbed only."""
    try:
        return importlib.import_module("requests")
    except ImportError as error:
        raise UserError(
            'Grid\'5000 is reached by requests, which is not installed: pip install "pliant[grid5000]"'
        ) from error


def _unsigned(request: Any) -> Any:
    return request


def _read(response: Any, hidden: Callable[[str], str]) -> _Answer:
    """An answer's status and text."""
    parts, size = [], 0
    for part in response.iter_content(2**16):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            return _Answer(why=f"its answer is longer than {_MOST_BYTES >> 20} MiB")
    text = b"".join(parts).decode("utf-8", errors="replace")
    return _Answer(response.status_code, hidden(text))


def _reason(error: Exception) -> str:
    """Why there was no answer, in a few words: libraries wrap the cause in layers of names."""
    text = str(error)
    cause = re.search(
        r"\[Errno -?\d+\] ([^'\")]+)|'([^']+)'\)+$|(Read timed out|timed out|certificate verify failed)", text
    )
    short = next(filter(None, cause.groups()), "") if cause else ""
    return _one_line(short or text) or type(error).__name__


_TORN = object()


def _parsed(text: str) -> Any:
    """JSON, or _TORN."""
    try:
        return json.loads(text)
    except ValueError:
        return _TORN


def _one_line(text: str) -> str:
    """What a server says, without its markup, on one line, cut."""
    line = " ".join(re.sub(r"<(style|script|head)\b.*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I).split())
    return line if len(line) <= _MOST_SAID else f"{line[: _MOST_SAID - 3]}..."


def _unknown_user(api: Api, path: str) -> str:
    if api.credentials:
        return f"Grid'5000 does not accept the password of {api.user}: check {FILE}"
    return f"Grid'5000 asks who you are: outside of its front ends, write username and password into {FILE}, chmod 600"


def _other(api: Api, path: str) -> str:
    return "Grid'5000's API fails or answers something else"


_SENTENCES: Mapping[int, Callable[[Api, str], str]] = {
    400: lambda api, path: "Grid'5000 refuses what was asked",
    401: _unknown_user,
    403: lambda api, path: f"Grid'5000 does not allow that to {api.user}",
    404: lambda api, path: f"Grid'5000 knows no {path}",
    429: lambda api, path: "Grid'5000 is asked too often",
}
