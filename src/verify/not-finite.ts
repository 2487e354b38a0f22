import { EXIT, UserError } from '../errors.js';

/** A figure that cannot be taken because a model put out NaN or infinite numbers. */
export function notFinite(model: string, sample: string): UserError {
  return new UserError(
    'METRIC_NOT_FINITE',
    `The ${model} model puts out numbers for ${sample} that are NaN or infinite: they cannot be scored.`,
    {
      place: sample,
      exitCode: EXIT.verification,
      suggestions: [
        'Look at the model on this sample: overflow, a division by zero, or a sample out of the usual range.',
      ],
    },
  );
}
