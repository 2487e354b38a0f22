import type { Equalization } from '../../config/result.js';

/** What equalization did to a network, in words. */
export function equalizationWords({ layers, norms, offsets, gain }: Equalization): string {
  const ways = [
    layers > 0 && `channels between layers (strength ${layers})`,
    norms > 0 && `channels behind normalizations (strength ${norms})`,
    offsets && 'offsets',
  ].filter((way) => way !== false);
  return `${ways.join(', ')}: +${gain.toFixed(1)} dB on samples kept back`;
}
