"""Shows a dataset on Airflow's page Reports: what the readings look like, what was left out."""

import hashlib
import json
import logging
from pathlib import Path

from breezeway.contract.contract import Contract
from breezeway.core.errors import BreezewayError
from breezeway.core.files import write_text
from breezeway.core.settings import Settings
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.profile import Profile
from breezeway.tracking.page_runs import record_page

log = logging.getLogger("breezeway")

PAGE = "profile.html"


def show(settings: Settings, contract: Contract, folder: Path, started: float) -> str:
    """Record the page of a dataset that `preprocess` made, or refused to make.

    The dataset is worth more than its page. So if MLflow does not take the page, it stays beside
    the folder, the log says why, and the step goes on.

    Args:
        folder: `<name>/dataset`, or `<name>/rejected`.
        started: when the work started, in seconds since 1970.

    Returns:
        The id of the run in MLflow; empty if there is none.
    """
    profile, file = Profile.read(folder), folder / "manifest.json"
    if profile is None or not file.is_file():
        return ""
    # Half a second; a step that makes nothing does not need it.
    from breezeway.preprocessing.profile_page import profile_page

    manifest = Manifest.of(json.loads(file.read_text(encoding="utf-8")), str(folder))
    name, outcome = folder.parent.name, folder.name
    title = f"Data of {name}" + (", which was rejected" if outcome == "rejected" else "")
    page = profile_page(contract, manifest, profile, title=title, source=manifest.query)
    told = "\n".join([name, outcome, settings.run_id or "", manifest.raw.sha256])
    left = folder.with_name(PAGE)
    try:
        run_id = record_page(
            settings,
            contract.name,
            f"preprocess {name}",
            page.encode(),
            key=hashlib.sha256(told.encode()).hexdigest(),
            titles={PAGE: title},
            step="preprocess",
            started=started,
        )
    except BreezewayError as error:
        write_text(left, page)
        log.warning("The page of the data is not among the reports, but here: %s (%s)", left, error)
        return ""
    left.unlink(missing_ok=True)
    return run_id
