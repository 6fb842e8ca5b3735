// The way from a file of the registry to a conversation with it.
export const tryHref = (model: string, beside?: string) => `#/try?model=${encodeURIComponent(model)}${beside ? `&beside=${encodeURIComponent(beside)}` : ''}`;

// Programs of other kinds run ONNX; of a split file the first part is the one that is opened.
const runs = (name: string, format: string) => format !== 'onnx' && !/-(?!0*1-of-)\d+-of-\d+\.gguf$/.test(name);

// Of a model's files the one that most people take; undefined where none can be run.
interface File { id: string; name: string; format: string; quant_type: string }
export function usual<T extends File>(files: T[]): T | undefined {
    const those = files.filter((f) => runs(f.name, f.format));
    return ['Q4_K_M', 'Q4_K_S', 'Q5_K_M', 'Q8_0'].map((type) => those.find((f) => f.quant_type === type)).find(Boolean) ?? those[0];
}

export function TryLink({ variant, name, format, button }: { variant: string | undefined; name: string; format: string; button?: boolean }) {
    if (!variant || !runs(name, format)) return null;
    return <a class={button ? 'button' : 'try-link'} href={tryHref(variant)} aria-label={button ? undefined : `Try ${name}`}>{button ? 'Try it' : 'Try'}</a>;
}
