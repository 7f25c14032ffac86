// The AI SDK through @ai-sdk/openai-compatible, and @ai-sdk/openai for responses, against the scripted
// model and the demo model.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [apiKey, scripted, demo] = process.argv.slice(2);
const options = { name: "unisono", apiKey, includeUsage: true, supportsStructuredOutputs: true };
const model = createOpenAICompatible({ ...options, baseURL: `${scripted}/v1` })("scripted");
const real = createOpenAICompatible({ ...options, baseURL: `${demo}/v1` })("demo");
const found = {};

const askedFor = (calls) => ({
  model,
  maxRetries: 0,
  prompt: "Use forecast for 3 days in Oslo.",
  stopWhen: stepCountIs(3),
  tools: {
    forecast: tool({
      description: "The weather.",
      inputSchema: z.object({ place: z.string(), days: z.number().int() }),
      execute: async (given) => { calls.push(given); return "It will snow."; },
    }),
  },
});
const calls = [];
const answer = await generateText(askedFor(calls));
found.tools = { calls, final: answer.text, steps: answer.steps.length };

const others = [];
const stream = streamText(askedFor(others));
let final = "";
for await (const text of stream.textStream) final += text;
found.streamed = { calls: others, final };
found.usage = (await stream.totalUsage).outputTokens;

const thought = await generateText({ model, prompt: "Repeat: <think>Hm.</think>Yes.", maxRetries: 0 });
found.reasoning = { text: thought.text, reasoning: thought.reasoningText };

const verdict = await generateObject({
  model: real,
  maxRetries: 0,
  schema: z.object({ urgent: z.boolean(), label: z.enum(["parcel", "noise"]) }),
  prompt: "My parcel is lost.",
});
found.object = verdict.object;

// The second step refers to the items of the first, which the server has stored.
const responses = createOpenAI({ apiKey, baseURL: `${scripted}/v1` }).responses("scripted");
const again = [];
const responded = await generateText({ ...askedFor(again), model: responses });
found.responses = { calls: again, final: responded.text, steps: responded.steps.length };
console.log(JSON.stringify(found));
