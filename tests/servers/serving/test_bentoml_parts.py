"""BentoML still has the parts that we use and that it does not promise."""

import asyncio
import inspect

import bentoml

from breezeway.serving import api_page, bentoml_parts


def test_our_application_stands_before_bentomls():
    behind = []

    def front(application):
        behind.append(application)

        async def ours(scope, receive, send):
            await send({"type": "ours"})

        return ours

    @bentoml.service(name="thing", service_class=bentoml_parts.service_behind(front))
    class Thing:
        pass

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Thing.to_asgi()({"type": "http"}, None, send))
    assert sent == [{"type": "ours"}]
    assert callable(behind[0])


def test_an_instance_knows_whether_it_comes_from_a_bento():
    @bentoml.service(name="thing")
    class Thing:
        pass

    assert bentoml_parts.bento_of(Thing()) is None
    assert "on_load_bento" in dir(type(Thing))


def test_a_model_lies_in_an_exported_bento_where_we_look_for_it():
    tag = bentoml.Tag("turbine", "1-abc")
    assert bentoml_parts.exported_model(tag) == "models/turbine/1-abc/mlflow_model"


def test_a_bento_says_its_labels_and_models():
    information = {"labels", "models", "services"}
    from bentoml._internal.bento.bento import BentoInfoV2

    assert information <= set(inspect.signature(BentoInfoV2).parameters)
    assert isinstance(BentoInfoV2.all_models, property)


def test_bentoml_has_a_copy_of_swagger_ui():
    assert b"SwaggerUIBundle" in api_page.read("/docs/swagger-ui-bundle.js")
    assert b".swagger-ui" in api_page.read("/docs/swagger-ui.css")
