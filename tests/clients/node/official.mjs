// openai and @anthropic-ai/sdk against the scripted model and the demo model.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [apiKey, scripted, demo] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${scripted}/v1`, apiKey, maxRetries: 0 });
const parameters = {
  type: "object",
  properties: { place: { type: "string" }, days: { type: "integer" } },
  required: ["place", "days"],
};
const ask = (content) => [{ role: "user", content }];
const found = {};

const calls = [];
const runner = client.chat.completions.runTools({
  model: "scripted",
  stream: true,
  messages: ask("Use forecast for 3 days in Oslo."),
  tools: [{
    type: "function",
    function: {
      name: "forecast", description: "The weather.", parameters, parse: JSON.parse,
      function: (given) => { calls.push(given); return "It will snow."; },
    },
  }],
});
found.tools = { final: await runner.finalContent(), calls };

const chat = { model: "scripted", messages: ask("Repeat: <think>Hm.</think>Yes.") };
const said = { content: "", reasoning: "" };
for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
  said.content += chunk.choices[0].delta.content ?? "";
  said.reasoning += chunk.choices[0].delta.reasoning_content ?? "";
}
found.reasoning = said;

const real = new OpenAI({ baseURL: `${demo}/v1`, apiKey, maxRetries: 0 });
try {
  await real.chat.completions.create({ model: "demo", messages: ask("Hello."), temperature: -1 });
} catch (error) {
  found.wrong = { status: error.status, param: error.param, type: error.constructor.name };
}

const anthropic = new Anthropic({ baseURL: scripted, apiKey, maxRetries: 0 });
const asked = { model: "scripted", max_tokens: 200 };
const answer = await anthropic.messages.create({
  ...asked,
  messages: ask("Use forecast for 3 days in Oslo."),
  tools: [{ name: "forecast", input_schema: parameters }],
});
const stream = anthropic.messages.stream({ ...asked, messages: chat.messages });
let streamed = "";
stream.on("text", (text) => { streamed += text; });
await stream.finalMessage();
found.messages = {
  reason: answer.stop_reason, input: answer.content.find((b) => b.type === "tool_use").input, streamed,
};
console.log(JSON.stringify(found));
