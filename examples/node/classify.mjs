// Classifies an image and reads the activations of one layer, in Node:
//
//     npm install && node classify.mjs ../eight.png
//
// The server's address is in VITRINE_TARGET, and a token in VITRINE_TOKEN.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const here = dirname(fileURLToPath(import.meta.url));
const protos = process.env.VITRINE_PROTOS ?? join(here, "..", "..", "protos");
const definition = loadSync("vitrine/v1/classifier.proto", { includeDirs: [protos], longs: Number, enums: String });
const { ClassifierService } = grpc.loadPackageDefinition(definition).vitrine.v1;

const metadata = new grpc.Metadata();
if (process.env.VITRINE_TOKEN) metadata.set("authorization", `Bearer ${process.env.VITRINE_TOKEN}`);
const client = new ClassifierService(
  process.env.VITRINE_TARGET ?? "localhost:50051",
  grpc.credentials.createInsecure(), // createSsl() for a server with TLS
  { "grpc.max_receive_message_length": 256 << 20 },
);

function call(method, request) {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    client[method](request, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// A tensor's bytes are little-endian numbers in row-major order.
function floats({ data }) {
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}

try {
  const { model } = await call("GetModel", {});
  const answer = await call("Classify", {
    encoded: { files: [readFileSync(process.argv[2] ?? join(here, "..", "eight.png"))] },
    activations: { names: ["relu_1"] },
  });
  const index = answer.digits[0];
  console.log(`${model.classes[index]} ${(100 * floats(answer.probabilities)[index]).toFixed(1)}%`);
  const relu = floats(answer.activations[0]);
  console.log(`relu_1: ${relu.length} units, ${relu.filter((value) => value > 0).length} of them active`);
} catch (error) {
  console.error(`${grpc.status[error.code]}: ${error.details}`);
  process.exitCode = 1;
} finally {
  client.close();
}
