// Embeds texts and a picture with a model directory, by the classes that its users call.
// node embed.mjs DIRECTORY DTYPE < {"texts": […], "pixels": […], "size": N}

import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import {
	AutoProcessor,
	AutoTokenizer,
	CLIPTextModelWithProjection,
	CLIPVisionModelWithProjection,
	env,
	RawImage,
} from "@huggingface/transformers";

const [, , directory, dtype] = process.argv;
const { texts, pixels, size } = JSON.parse(readFileSync(0, "utf8"));
env.allowRemoteModels = false;
env.localModelPath = `${dirname(directory)}/`;
const name = basename(directory);

const tokenizer = await AutoTokenizer.from_pretrained(name);
const textModel = await CLIPTextModelWithProjection.from_pretrained(name, { dtype });
const { text_embeds } = await textModel(tokenizer(texts, { padding: true, truncation: true }));

const processor = await AutoProcessor.from_pretrained(name);
const visionModel = await CLIPVisionModelWithProjection.from_pretrained(name, { dtype });
const picture = new RawImage(new Uint8ClampedArray(pixels), size, size, 3);
const { image_embeds } = await visionModel(await processor(picture));

console.log(JSON.stringify({ text: text_embeds.tolist(), image: image_embeds.tolist() }));
