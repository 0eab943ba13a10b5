"use strict";
// Shows the OpenAPI document of this server and lets one try its calls. Nothing is loaded from
// elsewhere; the key stays in this tab.

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// `indent` is where the text stands, `left` how much deeper it may still go.
function schemaText(schema, definitions, indent = "", left = 6) {
  if (!schema || left < 0) return "…";
  const inner = (one, at = indent) => schemaText(one, definitions, at, left - 1);
  if (schema.$ref) return inner(definitions[schema.$ref.split("/").pop()]);
  if (schema.anyOf) return schema.anyOf.map((one) => inner(one)).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return `[${inner(schema.items)}]`;
  if (schema.properties) {
    const required = new Set(schema.required || []);
    const deeper = `${indent}  `;
    const lines = Object.entries(schema.properties).map(
      ([key, value]) => `${deeper}${key}${required.has(key) ? "" : "?"}: ${inner(value, deeper)}`,
    );
    return `{\n${lines.join("\n")}\n${indent}}`;
  }
  return schema.type || "any";
}

function parameterRow(parameter) {
  const input = element("input", { "data-in": parameter.in, "data-name": parameter.name });
  if (parameter.required) input.required = true;
  const fallback = parameter.schema.default;
  if (fallback !== undefined) input.placeholder = String(fallback);
  input.setAttribute("aria-label", parameter.name);
  return element(
    "tr", { class: "parameter" },
    element("td", {}, element("code", {}, parameter.name)),
    element("td", {}, parameter.description || ""),
    element("td", {}, input),
  );
}

async function tryCall(path, method, form, output) {
  let target = path;
  const query = new URLSearchParams();
  const headers = { "x-api-key": byId("key").value };
  for (const input of form.querySelectorAll("input[data-in]")) {
    if (!input.value) continue;
    if (input.dataset.in === "path") target = target.replace(`{${input.dataset.name}}`, encodeURIComponent(input.value));
    if (input.dataset.in === "query") query.append(input.dataset.name, input.value);
    if (input.dataset.in === "header") headers[input.dataset.name] = input.value;
  }
  const body = form.querySelector("textarea");
  const suffix = query.size ? `?${query}` : "";
  output.textContent = "…";
  try {
    const answer = await fetch(target + suffix, { method, headers, body: body ? body.value : undefined });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it came */ }
    output.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
  } catch (problem) {
    output.textContent = String(problem);
  }
}

function operation(path, method, described, definitions) {
  const form = element("form");
  const parameters = described.parameters || [];
  if (parameters.length) form.append(element("table", {}, ...parameters.map(parameterRow)));
  const body = described.requestBody && described.requestBody.content["application/json"].schema;
  if (body) {
    form.append(element("h3", {}, "Body"), element("pre", {}, schemaText(body, definitions)), element("textarea"));
  }
  const rows = Object.entries(described.responses).map(([status, answer]) => {
    const schema = Object.values(answer.content)[0].schema;
    const shape = element("details", {}, element("summary", {}, answer.description));
    shape.append(element("pre", {}, schemaText(schema, definitions)));
    return element("tr", {}, element("td", { class: "status" }, status), element("td", {}, shape));
  });
  const output = element("pre");
  output.hidden = true;
  form.append(element("h3", {}, "Answers"), element("table", {}, ...rows), element("button", {}, "Try"), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    output.hidden = false;
    tryCall(path, method, form, output);
  });
  const title = element(
    "summary", {},
    element("span", { class: `method ${method}` }, method), element("code", {}, path), ` ${described.summary}`,
  );
  return element("details", {}, title, element("div", { class: "body" }, form));
}

function show(described) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const tag = one.tags[0];
      // A path that takes every method does the same with each: one of them says it all.
      if (methods.trace && method !== "get") continue;
      if (!groups.has(tag)) groups.set(tag, element("section", {}, element("h2", {}, tag)));
      groups.get(tag).append(operation(path, method.toUpperCase(), one, described.components.schemas));
    }
  }
  byId("operations").replaceChildren(...groups.values());
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("problem").textContent = "";
  const answer = await fetch("/v1/api/openapi.json", { headers: { "x-api-key": byId("key").value } });
  const content = await answer.json();
  if (answer.ok) show(content);
  else byId("problem").textContent = content.error;
});
