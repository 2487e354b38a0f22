import { z } from 'zod';
import type { LabelBox } from './boxes.js';
import { classNumber, formatError, lines, parseJson } from './label-files.js';

/** True boxes of a YOLO label file: `class x y width height` a line, centre and size as shares of the picture. */
export function parseYolo(text: string, path: string, classes: number | undefined): LabelBox[] {
  return lines(text).flatMap((line, i) => {
    if (line.trim() === '') return [];
    const place = `${path}:${i + 1}`;
    const fields = line.trim().split(/\s+/).map(Number);
    if (fields.length !== 5 || fields.some((field) => !Number.isFinite(field))) {
      throw formatError(place, `a line is "class x y width height", found "${line.trim()}"`);
    }
    const [label, x, y, width, height] = fields as [number, number, number, number, number];
    if (classes !== undefined && classNumber(label, place) >= classes) {
      throw formatError(
        place,
        `class ${label} is not one of the metric's ${classes} classes (0 to ${classes - 1})`,
      );
    }
    if ([x, y, width, height].some((share) => share < 0 || share > 1)) {
      throw formatError(place, 'x, y, width and height are shares of the picture, between 0 and 1');
    }
    const corner = { x: x - width / 2, y: y - height / 2 };
    return [
      {
        class: classNumber(label, place),
        ...corner,
        width,
        height,
        unit: 'share',
        area: null,
        ignored: false,
      } as const,
    ];
  });
}

const cocoSchema = z.object({
  images: z.array(z.object({ id: z.number(), file_name: z.string() })),
  annotations: z.array(
    z.object({
      image_id: z.number(),
      category_id: z.number(),
      bbox: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      area: z.number().optional(),
      iscrowd: z.union([z.number(), z.boolean()]).optional(),
    }),
  ),
  categories: z.array(z.object({ id: z.number() })).min(1),
});

/**
 * True boxes of a COCO annotation file (`instances_*.json`) by picture. Classes are the categories in the order of their
 * ids; crowds are ignored as COCO's evaluation does.
 */
export function parseCoco(text: string, path: string): (readonly [string, LabelBox[]])[] {
  const parsed = cocoSchema.safeParse(parseJson(text, path));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw formatError(path, `it is no COCO annotation file: ${issue!.path.join('.')}: ${issue!.message}`);
  }
  const { images, annotations, categories } = parsed.data;
  const ids = [...new Set(categories.map(({ id }) => id))].sort((a, b) => a - b);
  const classes = new Map(ids.map((id, i) => [id, i]));
  const boxes = new Map<number, LabelBox[]>(images.map(({ id }) => [id, []]));
  annotations.forEach(({ image_id, category_id, bbox: [x, y, width, height], area, iscrowd }, i) => {
    const label = classes.get(category_id);
    if (label === undefined)
      throw formatError(path, `annotation ${i} has the unknown category ${category_id}`);
    boxes.get(image_id)?.push({
      class: label,
      ...{ x, y, width, height },
      unit: 'pixel',
      area: area ?? null,
      ignored: Boolean(iscrowd),
    });
  });
  return images.map(({ id, file_name }) => [file_name, boxes.get(id)!]);
}

/**
 * True boxes of a WIDER FACE annotation file (`wider_face_*_bbx_gt.txt`) by picture: a line with the picture, one with the
 * number of faces, then `x y width height blur expression illumination invalid occlusion pose` a face (a line of zeros
 * where there is none). Invalid faces are ignored.
 */
export function parseWiderFace(text: string, path: string): (readonly [string, LabelBox[]])[] {
  const rows = lines(text);
  const pictures: (readonly [string, LabelBox[]])[] = [];
  for (let at = 0; at < rows.length; ) {
    const name = rows[at]!.trim();
    if (name === '') {
      at++;
      continue;
    }
    const count = /^\s*\d+\s*$/.test(rows[at + 1] ?? '') ? Number(rows[at + 1]) : undefined;
    if (count === undefined) {
      throw formatError(
        `${path}:${at + 2}`,
        `the number of faces in ${name} is missing, found "${rows[at + 1] ?? ''}"`,
      );
    }
    const first = at + 2;
    const boxes = rows
      .slice(first, first + count)
      .map((row, i) => parseFace(row, `${path}:${first + i + 1}`));
    if (boxes.length < count)
      throw formatError(`${path}:${rows.length}`, `${name} has fewer faces than ${count}`);
    pictures.push([name, boxes.filter(({ width, height }) => width > 0 && height > 0)]);
    at = first + count;
    if (count === 0 && /^\s*0(\s+0){3,}\s*$/.test(rows[at] ?? '')) at++;
  }
  if (pictures.length === 0) throw formatError(path, 'it holds no pictures');
  return pictures;
}

function parseFace(row: string, place: string): LabelBox {
  const fields = row.trim().split(/\s+/).map(Number);
  if (fields.length < 4 || fields.some((field) => !Number.isFinite(field))) {
    throw formatError(place, `a face is "x y width height …", found "${row.trim()}"`);
  }
  const [x, y, width, height] = fields as [number, number, number, number];
  return { class: 0, x, y, width, height, unit: 'pixel', area: null, ignored: fields[7] === 1 };
}
