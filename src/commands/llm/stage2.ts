import { LlmStageCommand, llmStageArgs, llmStageFlags } from '../../cli/llm-stage-command.js';

export default class LlmStage2 extends LlmStageCommand {
  static override enableJsonFlag = true;
  static override summary = "static ranges of activations, the original's second stage";
  static override description =
    'Measures the activations of what stage1 left in the folder. Writes trained.pth.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> models/qwen --config config.yaml --dopt-config dopt_config.json --out out',
  ];
  static override args = llmStageArgs;
  static override flags = llmStageFlags;

  protected readonly stage = 'stage2' as const;
}
