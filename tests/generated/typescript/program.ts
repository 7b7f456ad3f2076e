// Run one search and one verification through the generated types; print what the test checks.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Verification = components["schemas"]["VerificationAnswer"];
type Network = components["schemas"]["Architecture"];

const SECONDS = 120;
const [, , address, key] = process.argv;
const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });

async function search() {
  const { data, error } = await client.POST("/v1/searches", {
    params: { header: { Prefer: "wait=30" } },
    body: {
      space: {
        family: "densenet_mlp",
        in_features: 64,
        num_classes: 10,
        width: 8,
        depth: { min: 4, max: 8 },
        skip_channels: [0, 4, 8],
        activation: "relu",
      },
      budget: { max_params: 2000 },
      top_k: 2,
    },
  });
  if (!data) throw new Error(error.detail);
  return data;
}

async function verify(network: Network): Promise<Verification> {
  const { data, error } = await client.POST("/v1/verifications", {
    body: {
      architecture: network,
      dataset: { name: "digits" },
      recipe: { optimizer: "adam", learning_rate: 0.001, batch_size: 256, epochs: 1 },
      artifacts: [],
    },
  });
  if (!data || !("id" in data)) throw new Error(error?.detail ?? "a batch");
  let found: Verification = data;
  const deadline = Date.now() + 1000 * SECONDS;
  while (found.status === "queued" || found.status === "running") {
    if (Date.now() > deadline) throw new Error(found.progress.message);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const latest = await client.GET("/v1/verifications/{verification_id}", {
      params: { path: { verification_id: found.id } },
    });
    if (!latest.data) throw new Error(latest.error.detail);
    found = latest.data;
  }
  return found;
}

const searched = await search();
const page = await client.GET("/v1/searches/{search_id}/architectures", {
  params: { path: { search_id: searched.id }, query: { limit: 1 } },
});
if (!page.data) throw new Error(page.error.detail);
const [best] = page.data.items;
if (!best) throw new Error("nothing was found");

const refused = await client.POST("/v1/searches", { body: { space: "densenet-tiny", budget: { max_params: -1 } } });
const unknown = await client.GET("/v1/searches/{search_id}", {
  params: { path: { search_id: "00000000-0000-0000-0000-000000000000" } },
});
const verified = await verify(best.architecture);

console.log(
  JSON.stringify({
    search: searched.id,
    optimal: searched.result?.optimal,
    nn_mass: best.nn_mass,
    params: best.params,
    refused: refused.error?.errors.map((problem) => problem.field),
    unknown: unknown.error?.status,
    verification: verified.id,
    accuracy: verified.result?.accuracy.mean,
  }),
);
