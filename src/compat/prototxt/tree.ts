/** Where something stands in a file: line and column from 1, columns in UTF-16 units. */
export interface Place {
  line: number;
  column: number;
}

/** A value that is no message. A `word` is text without quotes: an enumerator, or text whose quotes were forgotten. */
export interface Scalar {
  kind: 'text' | 'number' | 'word';
  value: string | number;
  place: Place;
}

/** Fields in the order of the file; a list `[a, b]` is as many fields of the same name. */
export interface Message {
  kind: 'message';
  fields: Field[];
  place: Place;
}

export type Value = Scalar | Message;

export interface Field {
  name: string;
  place: Place;
  value: Value;
}
