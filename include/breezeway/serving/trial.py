"""Who answers: a model's champion or, for its share of the devices, the challenger on trial."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from breezeway.deployment.status import ChallengerStatus, TrialStatus
from breezeway.deployment.store import Challenger
from breezeway.serving.alarms import Alarm
from breezeway.serving.metrics import Metrics, Tally
from breezeway.serving.predict import LiveModel, check_request
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import Flags, Known, Readings

log = logging.getLogger("breezeway.serving")


@dataclass(frozen=True)
class Contender:
    """A live model with the tallies that count what it does.

    Args:
        live: the model.
        tallies: of Prometheus and, during a trial, of the rule that judges it.
        metrics: counts the violations of the contract.
    """

    live: LiveModel
    tallies: tuple[Tally, ...]
    metrics: Metrics

    def predict(
        self, device: str, readings: Readings, alarms: list[Alarm] | None = None
    ) -> dict[str, Any]:
        """The answer to one request.

        Args:
            alarms: extended, if the answer is one; None: it is not to be explained.

        Raises:
            Refusal: it breaks the model's contract.
        """
        started = time.perf_counter()
        flags: Flags = []
        # Only with more readings than these is it known whether an alarm goes on.
        more = alarms is not None and len(readings) > self.live.model.contract.request_readings
        known: Known | None = {} if more else None
        rows = self._features(device, readings, flags, known)
        try:
            score = self.live.score_rows(rows)
            answer = self._answer(rows[-1], score, flags, time.perf_counter() - started)
            self._note(alarms, answer, rows[-1], (device, readings), known)
        except Exception:
            self.count("error")
            raise
        return answer

    def score_rows(self, rows: np.ndarray) -> np.ndarray:
        """The scores, float64 (rows,), of rows of features that a client made, each by itself.

        The rule that judges a trial does not count them: they are nobody's share.

        Args:
            rows: float64 (rows, features); NaN is missing.
        """
        started = time.perf_counter()
        model = self.live.model
        try:
            scores = model.score(rows)
        except Exception:
            self.tallies[0].outcomes["error"] += len(rows)
            raise
        seconds = (time.perf_counter() - started) / len(rows)
        alone = not model.contract.alarm.lookback
        for row, score in zip(rows, scores.tolist(), strict=True):
            alarm = alone and score >= model.threshold
            self.tallies[0].predicted(row, score, alarm, seconds)
        return scores

    def _note(
        self,
        alarms: list[Alarm] | None,
        answer: dict[str, Any],
        row: np.ndarray,
        request: tuple[str, Readings],
        known: Known | None,
    ) -> None:
        if alarms is not None and answer["alarm"]:
            alarms.append(Alarm(answer, row, *request, self.live, self.tallies, known))

    def predict_all(
        self,
        requests: list[tuple[str, Readings]],
        known: dict[str, Known],
        alarms: list[Alarm] | None,
    ) -> list[dict[str, Any] | Refusal]:
        """The answers to several requests, scored in one call; see `Serving.predict_some`."""
        started = time.perf_counter()
        of_model = known.setdefault(self.live.deployment.deployment, {})
        flags: list[Flags] = [[] for _ in requests]
        found: list[np.ndarray | Refusal] = []
        for request, of_request in zip(requests, flags, strict=True):
            try:
                found.append(self._features(*request, of_request, of_model))
            except Refusal as refusal:
                found.append(refusal)
        good = [rows for rows in found if isinstance(rows, np.ndarray)]
        answers: list[dict[str, Any] | Refusal] = []
        answered = 0
        try:
            scores = iter(self.live.model.score(np.concatenate(good)).tolist() if good else ())
            seconds = (time.perf_counter() - started) / len(requests)
            for request, rows, of_rows in zip(requests, found, flags, strict=True):
                if isinstance(rows, Refusal):
                    answers.append(rows)
                    continue
                score = self.live.settle(list(islice(scores, len(rows))))
                answer = self._answer(rows[-1], score, of_rows, seconds)
                self._note(alarms, answer, rows[-1], request, of_model)
                answers.append(answer)
                answered += 1
        except Exception:
            self.count("error", len(good) - answered)
            raise
        return answers

    def _features(
        self,
        device: str,
        readings: Readings,
        flags: Flags,
        known: Known | None = None,
    ) -> np.ndarray:
        try:
            rows = self.live.features(device, readings, flags, known)
        except Refusal as refusal:
            # Whether a trial counts it depends on what the other says of the same request.
            self.tallies[0].outcomes["rejected"] += 1
            self._count_violation(refusal.body, "rejected")
            raise
        except Exception:
            self.count("error")
            raise
        for flag in flags:
            if "action" in flag:
                self._count_violation(flag, flag["action"])
        return rows

    def _answer(
        self, row: np.ndarray, score: float, flags: Flags, seconds: float
    ) -> dict[str, Any]:
        answer = self.live.answer(score, flags)
        for tally in self.tallies:
            tally.predicted(row, score, answer["alarm"], seconds)
        return answer

    def count(self, outcome: str, requests: int = 1) -> None:
        for tally in self.tallies:
            tally.outcomes[outcome] += requests

    def _count_violation(self, violation: Mapping[str, Any], action: str) -> None:
        model = self.live.deployment.model_name
        self.metrics.violations[model, violation["field"], violation["reason"], action] += 1


@dataclass(frozen=True)
class Trial:
    """A challenger beside the champion, and the counts of both since the trial began."""

    challenger: Contender
    terms: Challenger
    since: datetime
    champion_tally: Tally
    challenger_tally: Tally

    def answers_for(self, device: str) -> bool:
        """Whether the challenger answers for a device: the same devices throughout a trial, as many
        as its share, and other devices in the next trial."""
        if not self.terms.share:
            return False
        name = f"{self.terms.deployment}\n{device}".encode(errors="surrogatepass")
        position = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        return position < self.terms.share * 2**64

    def challenger_status(self) -> ChallengerStatus:
        terms = self.terms
        return ChallengerStatus(
            model_version=terms.model_version,
            deployment=terms.deployment,
            bento=terms.bento,
            data_tag=terms.data_tag,
            mode=terms.mode,
            share=terms.share,
            loaded_at=self.challenger.live.loaded_at.isoformat(),
        )

    def status(self) -> TrialStatus:
        return TrialStatus(
            since=self.since.isoformat(),
            champion=self.champion_tally.counted(),
            challenger=self.challenger_tally.counted(),
        )


@dataclass(frozen=True)
class Serving:
    """What is live under one name. It is replaced, never changed: a request keeps what it began
    with."""

    champion: Contender
    trial: Trial | None = None

    def with_challenger(self, live: LiveModel, terms: Challenger, metrics: Metrics) -> "Serving":
        """Begin a trial."""
        role = "shadow" if terms.mode == "shadow" else "challenger"
        names = live.model.feature_names
        tally = metrics.tally(terms.model_name, terms.model_version, role, names)
        mine, champions = Tally(), Tally()
        trial = Trial(
            Contender(live, (tally, mine), metrics), terms, datetime.now(UTC), champions, mine
        )
        alone = self.without_challenger().champion
        return Serving(replace(alone, tallies=(*alone.tallies, champions)), trial)

    def without_challenger(self) -> "Serving":
        """End the trial, if there is one."""
        return Serving(replace(self.champion, tallies=self.champion.tallies[:1]))

    def on_terms(self, terms: Challenger) -> "Serving":
        """The same trial with another share."""
        assert self.trial
        return Serving(self.champion, replace(self.trial, terms=terms))

    @property
    def versions(self) -> list[str]:
        """The numbers of the champion and of the challenger, if there is one."""
        return [each.live.deployment.model_version for each in self._contenders]

    @property
    def _contenders(self) -> list[Contender]:
        return [self.champion, *([self.trial.challenger] if self.trial else [])]

    def version(self, model_version: str) -> Contender | None:
        """The champion or the challenger, by its number."""
        for contender in self._contenders:
            if contender.live.deployment.model_version == model_version:
                return contender
        return None

    def predict(
        self, device: str, readings: Readings, alarms: list[Alarm] | None = None
    ) -> dict[str, Any]:
        """The answer of the model that answers for this device.

        A challenger costs nobody an answer: where it refuses or fails, the champion answers,
        and that is counted. What both refuse is no fault of the challenger.

        Args:
            alarms: see `Contender.predict`.

        Raises:
            Refusal: the request breaks the champion's contract.
        """
        refused = 0
        if self.trial and self.trial.answers_for(device):
            try:
                return self.trial.challenger.predict(device, readings, alarms)
            except Refusal:
                refused = 1
            except Exception:
                log.exception("%s fails", self.trial.terms.bento)
        answer = self.champion.predict(device, readings, alarms)
        if self.trial:
            self.trial.challenger_tally.outcomes["rejected"] += refused
        return answer

    def compare(self, device: str, readings: Readings, answer: dict[str, Any]) -> None:
        """Let the other model score the same readings: two models can only be compared on these.

        In a shadow the other model is the challenger; otherwise it is the champion, on what the
        challenger has answered. Errors are logged and counted, never raised: the client has its
        answer already.
        """
        assert self.trial
        challenger = self.trial.challenger
        try:
            if self.trial.terms.mode == "shadow":
                mine = challenger.predict(device, readings)
                other = answer
            elif answer["model_version"] == self.trial.terms.model_version:
                mine = answer
                other = self.champion.live.answer(self.champion.live.score(device, readings), [])
            else:
                return
        except Refusal:
            if self.trial.terms.mode == "shadow":
                self.trial.challenger_tally.outcomes["rejected"] += 1
            return
        except Exception:
            if self.trial.terms.mode != "shadow":
                self.champion.count("error")  # the challenger counts its own
            log.exception("%s cannot be compared", challenger.live.deployment.bento)
            return
        for tally in challenger.tallies:
            tally.compare(mine["score"], other["score"], mine["alarm"] == other["alarm"])

    def predict_some(
        self,
        requests: Sequence[Any],
        known: dict[str, Known],
        alarms: list[Alarm] | None = None,
    ) -> list[dict[str, Any] | Refusal]:
        """The answers to several requests of a batch.

        Args:
            requests: as they stand in the body.
            known: by deployment, the payloads that were parsed in this batch; it is added to.
            alarms: see `Contender.predict`.
        """
        answers: dict[int, dict[str, Any] | Refusal] = {}
        whole: dict[int, tuple[str, Readings]] = {}
        for index, request in enumerate(requests):
            try:
                whole[index] = check_request(request)
            except Refusal as refusal:
                answers[index] = refusal
        theirs = self._of_challenger(whole, known, alarms)
        answers |= {i: answer for i, answer in theirs.items() if not isinstance(answer, Refusal)}
        rest = {index: request for index, request in whole.items() if index not in answers}
        if rest:
            given = self.champion.predict_all(list(rest.values()), known, alarms)
            answers |= dict(zip(rest, given, strict=True))
        refused = [i for i in theirs if i in rest and not isinstance(answers[i], Refusal)]
        if self.trial:
            self.trial.challenger_tally.outcomes["rejected"] += len(refused)
        return [answers[index] for index in range(len(requests))]

    def _of_challenger(
        self,
        requests: Mapping[int, tuple[str, Readings]],
        known: dict[str, Known],
        alarms: list[Alarm] | None,
    ) -> dict[int, dict[str, Any] | Refusal]:
        """The challenger's answers to those requests of a batch that are its own."""
        if self.trial is None:
            return {}
        mine = {i: request for i, request in requests.items() if self.trial.answers_for(request[0])}
        if not mine:
            return {}
        try:
            given = self.trial.challenger.predict_all(list(mine.values()), known, alarms)
        except Exception:
            log.exception("%s fails", self.trial.terms.bento)
            return {}
        return dict(zip(mine, given, strict=True))
