"""A step's run in a real MLflow: its files, and the tags that make them reports."""

import json
import time

from breezeway.core.settings import Settings
from breezeway.tracking import mlflow_client, reports, runs


def test_a_recorded_run_has_its_figures_and_files_and_is_a_report(mlflow_server, tmp_path):
    settings = Settings(mlflow_url=mlflow_server, run_id="daily/recorded")
    (tmp_path / "drift.html").write_text("<p>quiet</p>")
    started = time.time() - 60
    tags = {"verdict": "quiet"}
    with runs.recorded(settings, "mill", "drift mill", started=started, tags=tags) as run_id:
        import mlflow

        mlflow.log_metrics({"rows": 7})
        titles = {"drift.html": "Drift", "not-there.png": "Nothing"}
        runs.add_reports(settings, run_id, tmp_path, titles, step="drift", about="mill/1")
    run = mlflow_client.client(settings).get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("drift mill", "FINISHED")
    assert run.info.start_time == int(started * 1000)
    assert (run.data.metrics, run.data.tags["breezeway.verdict"]) == ({"rows": 7}, "quiet")
    (found,), _ = reports.find(settings, dag_run="recorded")
    assert (found.run_id, found.step, found.model) == (run_id, "drift", "mill/1")
    assert [(report.path, report.title) for report in found.reports] == [("drift.html", "Drift")]
    with reports.open_report(settings, found, "drift.html") as content:
        assert content.read() == b"<p>quiet</p>"


def test_report_tags_name_step_model_reports_and_the_airflow_run():
    titles = {"drift.html": "Drift", "evidence.json": "Evidence"}
    tags = runs.report_tags(Settings(run_id="daily/r1"), "test", "plant/3", titles)
    assert json.loads(tags.pop("breezeway.reports")) == [
        {"path": "drift.html", "title": "Drift"},
        {"path": "evidence.json", "title": "Evidence"},
    ]
    assert tags == {
        "breezeway.step": "test",
        "breezeway.model": "plant/3",
        "breezeway.airflow_run": "daily/r1",
    }


def test_outside_airflow_no_run_is_named():
    assert "breezeway.airflow_run" not in runs.report_tags(Settings(), "test", "plant", {})
