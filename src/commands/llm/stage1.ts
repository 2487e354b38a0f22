import { LlmStageCommand, llmStageArgs, llmStageFlags } from '../../cli/llm-stage-command.js';

export default class LlmStage1 extends LlmStageCommand {
  static override enableJsonFlag = true;
  static override summary = "weights of a language model in 4 bits, the original's first stage";
  static override description =
    'Solves the weights, and with kd.enable trains scales and norms towards the float model. Writes trained_quant_weight.pth, and dopt_config.json filled in.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> models/qwen --config config.yaml --dopt-config dopt_config.json --out out',
  ];
  static override args = llmStageArgs;
  static override flags = llmStageFlags;

  protected readonly stage = 'stage1' as const;
}
