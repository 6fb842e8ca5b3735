// How codes are chosen: effort, and the text that is looked at for it.
import type { Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void; needs: boolean }

// Is a text run through the model?
export const looksAtText = (d: Draft) => d.importance || d.best || d.byBudget;

// Members of the request's config.
export function calibrationOf(d: Draft): Record<string, unknown> {
    if (!looksAtText(d)) return {};
    const n = (text: string) => (Number(text) > 0 ? Number(text) : undefined);
    const all = { use_imatrix: true, calibration_dataset: d.text.trim() || 'default', calibration_samples: n(d.samples), calibration_length: n(d.length), calibration_seed: n(d.seed), effort: d.best ? 'best' : undefined };
    return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
}

const presets: [string, string, Partial<Draft>][] = [
    ['Fast', 'rounded, in seconds', { best: false, importance: false }],
    ['With importance', 'a text says which weights matter', { best: false, importance: true }],
    ['Least loss', 'best codes at the same size, in minutes', { best: true, importance: true }],
];

export function Calibration({ draft, change, needs }: Props) {
    return (
        <>
            <div class="presets wide three" role="group" aria-label="Effort">{presets.map(([name, why, part]) => (
                <button key={name} type="button" disabled={name === 'Fast' && needs} aria-pressed={draft.best === part.best && (draft.best || (draft.importance || needs) === part.importance)} onClick={() => change(part)}><strong>{name}</strong> <span class="quiet">{why}</span></button>
            ))}</div>
            {(looksAtText(draft) || needs) && <div class="fields" role="group" aria-label="Calibration">
                <label>Calibration text <input type="text" maxLength={1024} placeholder="the text that comes with Halftone" value={draft.text} onInput={(e) => change({ text: e.currentTarget.value })} /><span class="sub">files on the server, mixed by weight: default,notes.txt:2</span></label>
                <label>Samples <input type="number" min="1" max="100000" placeholder={draft.best ? 'about 64 k tokens' : 'all of the text'} value={draft.samples} onInput={(e) => change({ samples: e.currentTarget.value })} /></label>
                <label>Tokens in each <input type="number" min="16" max="1048576" placeholder="512" value={draft.length} onInput={(e) => change({ length: e.currentTarget.value })} /></label>
                <label>Seed <input type="number" min="1" max="4294967295" placeholder="1" value={draft.seed} onInput={(e) => change({ seed: e.currentTarget.value })} /></label>
            </div>}
        </>
    );
}
