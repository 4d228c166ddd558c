// The OpenAPI document as a page: what can be asked, with what, and what comes back.

import { call } from "./api.js";
import { h } from "./dom.js";

const plain = (text = "") => text.replaceAll("`", "");
const named = (reference) => reference.split("/").pop();

// A schema in a few words, such as Listen | Convert, list of Job, text.
function words(schema = {}) {
  if (schema.$ref) return named(schema.$ref);
  const any = schema.oneOf || schema.anyOf;
  if (any) return any.map(words).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return schema.prefixItems ? schema.prefixItems.map(words).join(", ") : `list of ${words(schema.items)}`;
  return { string: "text", integer: "whole number" }[schema.type] || schema.type || "anything";
}

function limits(schema) {
  const signs = { minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<", maxLength: "at most characters:", pattern: "like" };
  return Object.entries(signs).filter(([name]) => schema[name] !== undefined).map(([name, sign]) => `${sign} ${schema[name]}`).join(", ");
}

const fields = (properties, required = []) => h("dl", {}, ...Object.entries(properties).flatMap(([name, schema]) => [h("dt", {}, h("code", {}, name)),
  h("dd", {}, [words(schema), limits(schema), required.includes(name) && "needed", schema.default !== undefined && `by default ${JSON.stringify(schema.default)}`].filter(Boolean).join(", "))]));

function operation(path, method, about) {
  const asked = about.requestBody?.content || {}, [kind, body] = Object.entries(asked)[0] || [];
  const answer = Object.entries(about.responses).find(([status]) => status.startsWith("2")) || ["", {}];
  return h("details", { className: "card" }, h("summary", {}, h("b", {}, method.toUpperCase()), " ", h("code", {}, path), ` ${plain(about.description || about.summary)}`),
    about.parameters && fields(Object.fromEntries(about.parameters.map((one) => [`${one.name} (${one.in})`, one.schema])), about.parameters.filter((one) => one.required).map((one) => `${one.name} (${one.in})`)),
    body && h("p", {}, `Body: ${kind}, ${words(body.schema)}`), h("p", {}, `Answer ${answer[0]}: ${Object.entries(answer[1].content || {}).map(([type, one]) => `${type}, ${words(one.schema)}`).join("; ") || "nothing"}`));
}

const told = await call("GET", "/openapi.json");
document.querySelector("#operations").replaceChildren(
  ...Object.entries(told.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => operation(path, method, about))),
  h("h2", {}, "Records"), ...Object.entries(told.components.schemas).map(([name, schema]) => h("details", { className: "card" }, h("summary", {}, h("b", {}, name), ` ${plain(schema.description)}`), schema.properties ? fields(schema.properties, schema.required) : words(schema))));
