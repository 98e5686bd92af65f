"""Moves the champion in the model registry: through the gate, or back (pool model_registry)."""

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.bases.skipmixin import SkipMixin


class PromoteModel(BaseOperator, SkipMixin):
    inherits_from_skipmixin = True
    template_fields = ("model_name", "model_version")

    def __init__(self, *, model_name, model_version, skip_when_refused=(), **kwargs: Any):
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model_version = model_version
        self.skip_when_refused = skip_when_refused

    def execute(self, context: Context):
        raise NotImplementedError


class RollbackModel(BaseOperator):
    template_fields = ("model_name", "model_version", "reason")

    def __init__(self, *, model_name, model_version, reason, **kwargs: Any):
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model_version = model_version
        self.reason = reason

    def execute(self, context: Context):
        raise NotImplementedError
