/** What is meant where no target is named. */
export const DEFAULT_TARGET = 'kirin9020';

/** Whether a target is named by its file: it has a folder or an ending of YAML. */
export const isTargetFile = (nameOrPath: string): boolean => /[\\/]|\.ya?ml$/i.test(nameOrPath);

/** How the networks of shapes are called where a model file could stand. */
export const ZOO_PREFIX = 'zoo:';

export const isZooName = (model: string): boolean => model.startsWith(ZOO_PREFIX);
