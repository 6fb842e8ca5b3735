// Routes live behind the hash, so that every address of the page is one file of the server.
import { useEffect, useState } from 'preact/hooks';

export interface Route { path: string[]; query: URLSearchParams }

function parse(): Route {
    const [path = '', q = ''] = location.hash.replace(/^#\/?/, '').split('?');
    const parts = path.split('/').filter(Boolean).map((p) => {
        try {
            return decodeURIComponent(p);
        } catch {
            return p;
        }
    });
    return { path: parts, query: new URLSearchParams(q) };
}

export function useRoute(): Route {
    const [route, set] = useState(parse);
    useEffect(() => {
        const changed = () => set(parse());
        addEventListener('hashchange', changed);
        return () => removeEventListener('hashchange', changed);
    }, []);
    return route;
}

export const href = (...parts: string[]) => '#/' + parts.map(encodeURIComponent).join('/');
export const go = (...parts: string[]) => void (location.hash = href(...parts));

// Changes the query of the current address without a step in the history.
export function replaceQuery(q: URLSearchParams): void {
    const path = location.hash.split('?')[0] || '#/jobs';
    const s = q.toString();
    history.replaceState(null, '', path + (s ? '?' + s : ''));
    dispatchEvent(new HashChangeEvent('hashchange'));
}
