"""Our application without BentoML around it."""

from bench.apps import echo
from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore
from breezeway.serving.app import App
from breezeway.serving.service import models, settle

settings = Settings.from_environment()
models.follow(DeploymentStore(settings.deployments), DeploymentStore(settings.deployment_copy))
app = App(models, echo.app)
settle()
