"use strict";
addEventListener("DOMContentLoaded", async () => {
  const page = document.getElementById("page");
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const answer = await fetch("openapi.json");
  if (!answer.ok) {
    page.textContent = `The description of the API: ${answer.status} ${await answer.text()}`;
    return;
  }
  const spec = await answer.json();
  // Also behind a proxy that gives the server a path of its own.
  spec.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  if (facts.models?.length) {
    spec.components.parameters.model.schema.enum = facts.models;
  }
  if (facts.request) {
    // Of a model in service: what the forms send by default gets a score.
    spec.components.parameters.model.schema.default = facts.model;
    const content = spec.components.requestBodies.Request.content["application/json"];
    content.example = facts.request;
  }
  SwaggerUIBundle({ spec, domNode: page, validatorUrl: null, tryItOutEnabled: true });
});
