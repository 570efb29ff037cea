// Runs an ONNX file once in ONNX Runtime for the web: node onnxruntime_web.mjs MODEL.onnx INPUTS.json
//
// INPUTS.json names each input's type, dims and raw file, beside it; outputs are written there and printed in the same
// form. The package `onnxruntime-web` is taken from where this script lies.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-web";

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int64: BigInt64Array };

const [model, description] = process.argv.slice(2);
const folder = dirname(description);
const inputs = {};
for (const [name, { type, dims, file }] of Object.entries(JSON.parse(readFileSync(description, "utf8")))) {
  const bytes = Uint8Array.from(readFileSync(join(folder, file)));
  inputs[name] = new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims);
}

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(Uint8Array.from(readFileSync(model)));
const outputs = {};
for (const [name, tensor] of Object.entries(await session.run(inputs))) {
  const file = `${name}.out.raw`;
  writeFileSync(join(folder, file), new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
  outputs[name] = { type: tensor.type, dims: tensor.dims, file };
}
console.log(JSON.stringify(outputs));
process.exit(0);
