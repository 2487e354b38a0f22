import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { publishedSchemas, pythonSchemas } from './json-schema.js';

const folder = fileURLToPath(new URL('../../schemas', import.meta.url));
const schemas = publishedSchemas();

describe('schemas/', () => {
  it('holds what is published and nothing else', () => {
    expect(readdirSync(folder).sort(), 'run npm run schemas').toEqual(Object.keys(schemas).sort());
  });

  it.each(Object.entries(schemas))('%s is up to date', (name, text) => {
    expect(readFileSync(`${folder}/${name}`, 'utf8'), `${name} is out of date: run npm run schemas`).toBe(
      text,
    );
  });

  it.each(Object.entries(pythonSchemas()))('gives the Python package %s', (path, text) => {
    const copy = fileURLToPath(new URL(`../../${path}`, import.meta.url));
    expect(readFileSync(copy, 'utf8'), 'run npm run schemas').toBe(text);
  });

  it('is of the draft that YAML editors read, and refuses unknown keys', () => {
    for (const text of Object.values(schemas)) {
      const { $schema, oneOf, ...whole } = JSON.parse(text);
      expect($schema).toBe('http://json-schema.org/draft-07/schema#');
      // A file of lines of several kinds: each kind is an object of its own.
      for (const one of oneOf ?? [whole]) {
        expect(one).toMatchObject({ type: 'object', additionalProperties: false });
      }
    }
  });

  it('asks of a recipe only what has no default', () => {
    const { required, properties } = JSON.parse(schemas['recipe.json']!);
    expect(required).toEqual(['name', 'family', 'description']);
    expect(properties.preprocess.required).toBeUndefined();
    expect(properties.preprocess.properties.resize.anyOf[1]).toMatchObject({ minItems: 2, maxItems: 2 });
  });
});
