// A made-up model for the made-up server: tensors as a small llama has them.
export function tensorsOf(layers, hidden, ff, vocab) {
    const rows = [['token_embd.weight', vocab * hidden], ['output.weight', vocab * hidden], ['output_norm.weight', hidden]];
    for (let i = 0; i < layers; i++) {
        for (const [role, n] of [['attn_k', hidden * hidden / 4], ['attn_norm', hidden], ['attn_output', hidden * hidden], ['attn_q', hidden * hidden],
            ['attn_v', hidden * hidden / 4], ['ffn_down', hidden * ff], ['ffn_gate', hidden * ff], ['ffn_norm', hidden], ['ffn_up', hidden * ff]])
            rows.push([`blk.${i}.${role}.weight`, n]);
    }
    return rows.map(([name, weights]) => ({ name, weights, shape: [hidden, weights / hidden], source_type: 'bf16' }));
}

export const types = [
    ['F16', 16, false, 'as the source', false], ['Q8_0', 8.5, false, 'loss too small to measure', true], ['Q6_K', 6.56, false, 'next to no loss', true],
    ['Q5_K_M', 5.69, false, 'very small loss', true], ['Q5_K_S', 5.52, false, 'very small loss', false], ['Q4_K_M', 4.89, false, 'small loss: the usual choice', true],
    ['Q4_K_S', 4.67, false, 'small loss', false], ['IQ4_XS', 4.32, false, 'small loss at less size', true], ['Q3_K_M', 3.96, false, 'clear loss', false],
    ['IQ3_M', 3.77, false, 'clear loss', true], ['IQ3_XXS', 3.21, true, 'large loss', false], ['Q2_K', 2.9, false, 'large loss', false], ['IQ2_M', 2.79, true, 'large loss', false],
    ['IQ2_XS', 2.43, true, 'severe loss', false], ['IQ1_S', 1.9, true, 'for very large models alone', false],
].map(([name, bits_per_weight, needs_importance, hint, recommended]) => ({ name, bits_per_weight, needs_importance, hint, recommended }));
