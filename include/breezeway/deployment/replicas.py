"""The running model servers, seen from outside: each replica is called at its own address.

An address may be one server, or a headless Service whose name resolves to the addresses of all
replicas. The name is resolved each time, because replicas come and go.
"""

import socket
from collections.abc import Iterator
from typing import Any

import httpx

from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.deployment.status import ServerStatus, read_status

ANSWER_SECONDS = 5.0


class NobodyThere(ServiceUnavailable):
    """An address at which nobody listens."""

    def __init__(self, where: str):
        super().__init__(f"No model server answers at {where}; BREEZEWAY_SERVING_URL names it.")


class Replica:
    """One model server.

    Args:
        http: what speaks to it.
        url: by which it is known.
        address: by which it is reached.
        model_name: the model that is asked about.
    """

    def __init__(self, http: httpx.Client, url: httpx.URL, address: str, model_name: str):
        self._http = http
        self._url = url.copy_with(host=address)
        self._named = url
        self._model = f"v1/models/{model_name}"

    def __str__(self) -> str:
        return str(self._url)

    def status(self) -> ServerStatus:
        """The server's status of the model; empty if it does not know the model.

        Raises:
            ServiceUnavailable: it does not answer, answers with an error, or is not a model server;
                `NobodyThere` if nobody listens.
            UsageError: it expects another token, or does not know the name by which it is called.
        """
        response = self._request("GET", self._model)
        if response.status_code == 404:
            return ServerStatus()
        self._check(response)
        try:
            return read_status(response.content)
        except ValueError as error:
            raise ServiceUnavailable(
                f"What answers at {self} is no model server of this version ({error})."
            ) from None

    def predict(self, example: dict[str, Any], version: str) -> dict[str, Any]:
        """Send an example from training to one of the versions in service.

        Raises:
            DataError: the server refuses it.
            ServiceUnavailable, UsageError: as for `status`.
        """
        body = {"device": example["device"], "readings": example["readings"]}
        path = f"{self._model}/versions/{version}/predict"
        response = self._request("POST", path, json=body)
        self._check(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(
                method,
                self._url.join(path),
                headers={"Host": self._named.netloc.decode()},
                extensions={"sni_hostname": self._named.host},
                **content,
            )
        except httpx.ConnectError as error:
            raise NobodyThere(f"{self} ({error})") from None
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"The model server does not answer at {self} ({error or type(error).__name__}); "
                "BREEZEWAY_SERVING_URL names it."
            ) from None

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == 401:
            raise UsageError(
                f"The model server at {self} wants another token; BREEZEWAY_SERVING_TOKEN holds it."
            )
        if response.status_code == 403:
            raise UsageError(f"The model server at {self} refuses: {response.text[:300]}")
        if response.is_server_error:
            raise ServiceUnavailable(
                f"The model server at {self} fails with {response.status_code}: "
                f"{response.text[:300]}"
            )
        if response.is_error:
            raise DataError(f"The model server at {self} refuses: {response.text[:300]}")


class Replicas:
    """All model servers of BREEZEWAY_SERVING_URL, which may be a list with commas.

    An address where nobody listens is not a replica: if a server starts there later, it reads the
    deployment store at that time. But a replica that has answered once must keep answering.

    Args:
        settings: the address and the token.
        model_name: the model that is asked about.
    """

    def __init__(self, settings: Settings, model_name: str):
        self._http = httpx.Client(
            timeout=ANSWER_SECONDS, trust_env=False, headers=settings.serving_headers
        )
        self._urls = [httpx.URL(f"{url.strip(' /')}/") for url in settings.serving_url.split(",")]
        self._model_name = model_name
        self._seen: set[str] = set()

    def statuses(self) -> list[tuple[Replica, ServerStatus]]:
        """Each replica and its status of the model; at least one.

        Raises:
            ServiceUnavailable: the name does not resolve, nobody is there, or a replica does
                not answer.
            UsageError: they expect another token.
        """
        answers: list[tuple[Replica, ServerStatus]] = []
        nobody: NobodyThere | None = None
        for replica in self._all():
            try:
                answers.append((replica, replica.status()))
                self._seen.add(str(replica))
            except NobodyThere as error:
                nobody = error
                if str(replica) in self._seen:
                    raise
        if nobody and not answers:
            raise nobody
        return answers

    def _all(self) -> Iterator[Replica]:
        for url in self._urls:
            port = url.port or (443 if url.scheme == "https" else 80)
            try:
                found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise NobodyThere(f"{url} ({error.strerror})") from None
            for address in sorted({str(place[0]) for *_, place in found}):
                yield Replica(self._http, url, address, self._model_name)
