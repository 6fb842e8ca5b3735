// Where two answers part.
import type { Answer, Likely, Token } from './answer';

export interface Parting {
    same: boolean;
    at: [number, number]; // in each text, where the first token begins that is another one
    end: [number, number]; // and where it ends
    words: number; // that both have
    tokens: [Token, Token] | null; // those that differ, where both count in the same tokens
}

// Tokens begin at these places of the text; null where they are not the text, character by character.
function places(a: Answer): number[] | null {
    const starts: number[] = [];
    let at = 0;
    for (const t of a.tokens) {
        if (at >= a.text.length) break; // an end that has no text
        if (!a.text.startsWith(t.token, at)) return null;
        starts.push(at);
        at += t.token.length;
    }
    return at === a.text.length ? starts : null;
}

// From the place that differs back to where its word begins.
function wordAt(text: string, at: number): [number, number] {
    let start = at, end = at;
    while (start > 0 && !/\s/.test(text[start - 1]!)) start--;
    while (end < text.length && !/\s/.test(text[end]!)) end++;
    return [start, Math.max(end, Math.min(text.length, start + 1))];
}

const tokenAt = (starts: number[], at: number) => starts.findLastIndex((s) => s <= at);

export function parting(a: Answer, b: Answer): Parting {
    let at = 0;
    while (at < a.text.length && at < b.text.length && a.text[at] === b.text[at]) at++;
    const same = at === a.text.length && at === b.text.length;
    const left = places(a), right = places(b), words = (text: string) => text.split(/\s+/).filter(Boolean).length;
    if (left && right && !same) {
        const i = tokenAt(left, at), k = tokenAt(right, at);
        const s: [number, number] = [left[i] ?? 0, right[k] ?? 0];
        if (i === k && s[0] === s[1] && at < a.text.length && at < b.text.length)
            return { same, at: s, end: [left[i + 1] ?? a.text.length, right[k + 1] ?? b.text.length], words: words(a.text.slice(0, s[0])), tokens: [a.tokens[i]!, b.tokens[k]!] };
    }
    const [x, y] = [wordAt(a.text, at), wordAt(b.text, at)], start = Math.min(x[0], y[0]);
    return { same, at: [start, start], end: [x[1], y[1]], words: words(a.text.slice(0, start)), tokens: null };
}

// What a model gave a token, among its likeliest: "12 %"; nothing where it is not told.
export function chance(of: Token, token: string): string {
    const found: Likely | undefined = of.token === token ? of : of.top.find((t) => t.token === token);
    if (!found || found.logprob === null) return of.top.length ? 'less than its likeliest' : '';
    const p = 100 * Math.exp(found.logprob);
    return `${p >= 10 ? p.toFixed(0) : p >= 0.1 ? p.toFixed(1) : 'under 0.1'} %`;
}
