// Classify one image from Node: npm install @grpc/grpc-js protobufjs && node predict.mjs [host:port]
// Needs the two files of client/proto only; the same call works against TensorFlow Serving.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";

const top = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const root = new protobuf.Root();
root.resolvePath = (from, path) => (path.startsWith("google/") ? path : join(top, path));
root.loadSync("client/proto/serving.proto");
const PredictRequest = root.lookupType("mnist_digits.PredictRequest");
const PredictResponse = root.lookupType("mnist_digits.PredictResponse");

// uint8 [1, 28, 28], 0 = paper, 255 = ink: a vertical stroke, so a 1
const image = new Uint8Array(28 * 28);
for (let y = 4; y < 24; y++) for (let x = 13; x < 16; x++) image[28 * y + x] = 255;

const request = {
  modelSpec: { name: "digits", signatureName: "serving_default" },
  inputs: { images: { dtype: 4, tensorShape: { dim: [{ size: 1 }, { size: 28 }, { size: 28 }] }, tensorContent: image } },
};
const client = new grpc.Client(process.argv[2] ?? "127.0.0.1:8500", grpc.credentials.createInsecure());
client.makeUnaryRequest(
  "/tensorflow.serving.PredictionService/Predict",
  (message) => Buffer.from(PredictRequest.encode(PredictRequest.fromObject(message)).finish()),
  (bytes) => PredictResponse.decode(bytes),
  request,
  { deadline: Date.now() + 5000 },
  (error, response) => {
    client.close();
    if (error) {
      console.error(`error: ${error.message}`);
      process.exitCode = 1;
      return;
    }
    const { digit, probabilities } = response.outputs;
    console.log(`digit ${digit.int64Val[0]}, probability ${Math.max(...probabilities.floatVal).toFixed(4)}`);
  },
);
