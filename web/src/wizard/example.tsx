// The example model, offered where the server has it: a first job without a model of one's own.
import { get, type LocalEntry, type LocalList } from '../api';
import { bytes } from '../format';
import { go } from '../route';
import { useLoad } from '../ui';
import { change } from './draft';

export function useExample(): LocalEntry | undefined {
    return useLoad<LocalList>('local null', (signal) => get('/local', signal)).data?.example ?? undefined;
}

export const exampleDraft = (e: LocalEntry) => ({ kind: 'local' as const, model: e.path, name: 'example model', types: ['Q4_K_M', 'Q8_0'] });

// The button of an empty list of jobs: straight to the types.
export function TryExample() {
    const example = useExample();
    if (!example) return null;
    const start = () => {
        change(exampleDraft(example));
        go('new', '2');
    };
    return <button type="button" onClick={start}>Try the example model{example.size_bytes ? <span class="quiet"> {bytes(example.size_bytes)}</span> : ''}</button>;
}
