// One answer of one model, as it comes: its text, its tokens and how long they took.
import { stream, type Problem } from '../api';
import { problemOf } from '../ui';

export interface Said { role: 'system' | 'user' | 'assistant'; content: string }
export interface Likely { token: string; logprob: number | null }
export interface Token extends Likely { top: Likely[] }
export type State = 'waiting' | 'loading' | 'reading' | 'writing' | 'ended' | 'cut' | 'full' | 'stopped' | 'failed';
export interface Answer {
    model: string; name: string; state: State; text: string; tokens: Token[]; problem?: Problem;
    promptTokens: number | null; keptTokens: number; // of the prompt, and of those what was read before
    loadSeconds: number | null; firstSeconds: number | null; // until it was loaded, until its first token
    rate: number | null; // tokens a second, from the first on
}
export interface Question { path: string; body: Record<string, unknown>; most: number }

export const going = (a: Answer | undefined) => a !== undefined && ['waiting', 'loading', 'reading', 'writing'].includes(a.state);
export const newAnswer = (model: string, name: string): Answer =>
    ({ model, name, state: 'waiting', text: '', tokens: [], promptTokens: null, keptTokens: 0, loadSeconds: null, firstSeconds: null, rate: null });

interface Choice { delta?: { content?: string }; text?: string; finish_reason?: string | null; logprobs?: Record<string, unknown> | null }
interface Usage { prompt_tokens: number; completion_tokens: number; prompt_tokens_details?: { cached_tokens?: number } }

// Chat tells a list of tokens, completions tell lists side by side.
function tokensOf(logprobs: Record<string, unknown> | null | undefined): Token[] {
    if (!logprobs) return [];
    const chat = logprobs.content as { token: string; logprob: number | null; top_logprobs: Likely[] }[] | undefined;
    if (chat) return chat.map((t) => ({ token: t.token, logprob: t.logprob, top: t.top_logprobs }));
    const texts = logprobs.tokens as string[], values = logprobs.token_logprobs as (number | null)[], tops = logprobs.top_logprobs as (Record<string, number> | null)[];
    return texts.map((token, i) => ({ token, logprob: values[i] ?? null, top: Object.entries(tops[i] ?? {}).map(([t, logprob]) => ({ token: t, logprob })) }));
}

// Asks; tell is called whenever something came, with a new object each time, and once more at the end.
export async function ask(first: Answer, question: Question, signal: AbortSignal, tell: (a: Answer) => void): Promise<void> {
    let a: Answer = { ...first, state: 'loading' }, begun = 0, early = 0, finish: string | null = null;
    const start = performance.now(), since = () => (performance.now() - start) / 1000;
    const change = (more: Partial<Answer>) => tell((a = { ...a, ...more }));
    change({});
    try {
        for await (const event of stream(question.path, question.body, signal)) {
            const choice = (event.choices as Choice[])[0], usage = event.usage as Usage | null | undefined;
            if (usage) a = { ...a, promptTokens: usage.prompt_tokens, keptTokens: usage.prompt_tokens_details?.cached_tokens ?? 0 };
            if (!choice) continue;
            const piece = choice.delta?.content ?? choice.text ?? '', tokens = [...a.tokens, ...tokensOf(choice.logprobs)];
            finish = choice.finish_reason ?? finish;
            if (a.loadSeconds === null) change({ state: 'reading', loadSeconds: since() });
            if (tokens.length === a.tokens.length && !piece) continue;
            if (a.firstSeconds === null) {
                begun = since();
                early = tokens.length;
                a = { ...a, firstSeconds: begun };
            }
            const took = since() - begun;
            change({ state: 'writing', text: a.text + piece, tokens, rate: took > 0 && tokens.length > early ? (tokens.length - early) / took : null });
        }
        change({ state: finish !== 'length' ? 'ended' : a.tokens.length >= question.most ? 'cut' : 'full' });
    } catch (e) {
        if (signal.aborted) change({ state: 'stopped' });
        else change({ state: 'failed', problem: problemOf(e) });
    }
}
