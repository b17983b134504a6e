// Drives the gateway with the official npm package: node openai_client.mjs FOLDER_OF_NODE_MODULES BASE_URL KEY
// Prints one JSON document with what the client's objects hold.
import { createRequire } from "node:module";

const [folder, baseURL, apiKey] = process.argv.slice(2);
const OpenAI = createRequire(folder + "/")("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Which track?" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const seen = {};

const chat = await client.chat.completions.create({ model: "m-openai", messages }).withResponse();
seen.chat = chat.data.choices[0].message.content;
seen.served = [chat.data.model, chat.response.headers.get("x-pointsman-model")];

seen.streamed = "";
const options = { include_usage: true };
const chunks = await client.chat.completions.create({ model: "m-anthropic", messages, stream: true, stream_options: options });
for await (const chunk of chunks) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) seen.usage = chunk.usage.total_tokens;
}

const called = await client.chat.completions.create({ model: "m-openai", messages, tools });
seen.calls = called.choices[0].message.tool_calls.map((call) => JSON.parse(call.function.arguments));

const run = client.chat.completions.stream({ model: "m-openai", messages, tools });
seen.streamedCalls = (await run.finalMessage()).tool_calls.map((call) => JSON.parse(call.function.arguments));

const response = await client.responses.create({ model: "m-anthropic", input: "Which track?" });
seen.response = response.output_text;

seen.events = [];
for await (const event of await client.responses.create({ model: "m-openai", input: "Which track?", stream: true })) {
  seen.events.push(event.type);
}

const url = "data:image/png;base64,iVBORw0KGgo=";
const picture = [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }];
seen.picture = (await client.chat.completions.create({ model: "m-openai", messages: picture })).choices[0].message.content;

seen.errors = [];
const wrong = new OpenAI({ baseURL, apiKey: "pm-wrong", maxRetries: 0 });
for (const ask of [
  () => client.chat.completions.create({ model: "no-such-model", messages }),
  () => client.chat.completions.create({ model: "auto", messages: [] }),
  () => wrong.models.list(),
]) {
  try {
    await ask();
  } catch (error) {
    seen.errors.push([error.constructor.name, error.status, error.code]);
  }
}
seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
console.log(JSON.stringify(seen));
