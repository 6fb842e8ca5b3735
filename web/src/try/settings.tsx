// How answers are made: the system prompt and the sampling, as texts that the person types.
import type { Question, Said } from './answer';

export interface Settings { system: string; temperature: string; top_k: string; top_p: string; min_p: string; repetition_penalty: string; max_tokens: string; seed: string; stop: string }
export const unset: Settings = { system: '', temperature: '', top_k: '', top_p: '', min_p: '', repetition_penalty: '', max_tokens: '', seed: '', stop: '' };

interface Field { key: keyof Settings; label: string; usual: string; min: number; max: number; step: number | 'any'; hint: string }
const fields: Field[] = [
    { key: 'temperature', label: 'Temperature', usual: '0.7', min: 0, max: 2, step: 'any', hint: '0: the likeliest token every time' },
    { key: 'top_k', label: 'Top k', usual: '0', min: 0, max: 1e9, step: 1, hint: 'the likeliest so many; 0: all' },
    { key: 'top_p', label: 'Top p', usual: '1', min: 0, max: 1, step: 'any', hint: 'the likeliest that make up this share' },
    { key: 'min_p', label: 'Min p', usual: '0', min: 0, max: 1, step: 'any', hint: 'none below this share of the likeliest' },
    { key: 'repetition_penalty', label: 'Repetition penalty', usual: '1', min: 0.01, max: 100, step: 'any', hint: 'above 1: against repeating' },
    { key: 'max_tokens', label: 'Most tokens', usual: '512', min: 1, max: 1e6, step: 1, hint: 'of one answer' },
    { key: 'seed', label: 'Seed', usual: 'random', min: 0, max: 2 ** 53 - 1, step: 1, hint: 'the same gives the same answer' },
];
// Where two are compared, chance would hide what differs.
const usual = (f: Field, two: boolean) => (f.key === 'temperature' && two ? '0' : f.usual);

export function SettingsForm({ value, onChange, text, two }: { value: Settings; onChange: (s: Settings) => void; text: boolean; two: boolean }) {
    const set = (key: keyof Settings, v: string) => onChange({ ...value, [key]: v });
    return (
        <div class="try-settings">
            {!text && <label class="wide">System prompt <textarea rows={3} value={value.system} placeholder="none: as the model has it" onInput={(e) => set('system', e.currentTarget.value)} /></label>}
            {fields.map((f) => (
                <div key={f.key}><label>{f.label}
                    <input type="number" min={f.min} max={f.max} step={f.step} placeholder={usual(f, two)} aria-describedby={`hint-${f.key}`} value={value[f.key]} onInput={(e) => set(f.key, e.currentTarget.value)} /></label>
                    <small id={`hint-${f.key}`} class="quiet">{f.hint}</small></div>
            ))}
            <div><label>Stop at <textarea rows={2} aria-describedby="hint-stop" value={value.stop} onInput={(e) => set('stop', e.currentTarget.value)} /></label>
                <small id="hint-stop" class="quiet">texts that end an answer, one a line</small></div>
        </div>
    );
}

// The request for one model. Every answer tells its tokens: they are counted, and compared where there are two.
export function questionOf(model: string, said: Said[], s: Settings, text: boolean, two: boolean, seed: number): Question {
    const body: Record<string, unknown> = { model, stream: true, stream_options: { include_usage: true } };
    for (const f of fields) {
        const v = Number(s[f.key] || usual(f, two));
        if (Number.isFinite(v)) body[f.key] = v;
    }
    body.seed = s.seed ? Number(s.seed) : seed;
    const stop = s.stop.split('\n').filter(Boolean).slice(0, 16);
    if (stop.length) body.stop = stop;
    const most = body.max_tokens as number, tops = two ? 5 : 0;
    if (text) return { path: '/v1/completions', body: { ...body, prompt: said.map((m) => m.content).join(''), logprobs: tops }, most };
    const messages = s.system.trim() ? [{ role: 'system', content: s.system }, ...said] : said;
    return { path: '/v1/chat/completions', body: { ...body, messages, logprobs: true, top_logprobs: tops }, most };
}
