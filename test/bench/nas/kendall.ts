export { kendall } from '../../../src/search/algorithms/kendall.js';
