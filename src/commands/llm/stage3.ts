import { LlmStageCommand, llmStageArgs, llmStageFlags } from '../../cli/llm-stage-command.js';

export default class LlmStage3 extends LlmStageCommand {
  static override enableJsonFlag = true;
  static override summary = "files for the converter, the original's third stage";
  static override description =
    'Writes fake_quant_weight.pth, quant_params.json, and the embedding with its scales where it is separate.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> models/qwen --config config.yaml --dopt-config dopt_config.json --out out',
  ];
  static override args = llmStageArgs;
  static override flags = llmStageFlags;

  protected readonly stage = 'stage3' as const;
}
