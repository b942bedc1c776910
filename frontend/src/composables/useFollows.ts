import type { Api } from "@/api/client";
import { ApiError, call } from "@/api/errors";
import type { ClientMessage, DeploymentEvent } from "@/api/messages";
import { mergeBySeq, mergePage, startSequence, type Merged, type Sequence } from "@/lib/merge";

interface Follow {
  readers: number;
  sequence: Sequence<DeploymentEvent>;
  fetching: boolean;
  gapTimer?: ReturnType<typeof setTimeout>;
}

export interface FollowOptions {
  api: Api;
  send: (message: ClientMessage) => void;
  /** Called with every message of a followed deployment, in order, exactly once. */
  emit: (messages: readonly DeploymentEvent[]) => void;
}

const EVENTS_PER_PAGE = 200;
/** Wait this long for the socket's replay to close a gap before fetching it. */
const GAP_TIMEOUT_MS = 200;

/** Followed deployments: a cursor for each, and fetching of the messages missing after it. */
export function useFollows({ api, send, emit }: FollowOptions) {
  const follows = new Map<number, Follow>();

  function accept(id: number, follow: Follow, merged: Merged<DeploymentEvent>): void {
    follow.sequence = merged.sequence;
    emit(merged.ready);
    clearTimeout(follow.gapTimer);
    if (merged.gap) follow.gapTimer = setTimeout(() => void catchUp(id), GAP_TIMEOUT_MS);
  }

  async function fetchPage(id: number, follow: Follow): Promise<boolean> {
    const after = follow.sequence.cursor;
    const page = await call(api.GET("/deployments/{deployment_id}/events", {
      params: { path: { deployment_id: id }, query: { after, limit: EVENTS_PER_PAGE } },
    }));
    if (follows.get(id) !== follow) return false;
    const events = page.events as unknown as DeploymentEvent[];
    const last = events.at(-1)?.seq ?? after;
    // A page is complete up to its last event; the last page is complete up to the server's position.
    const upTo = page.more ? last : Math.max(last, page.last_seq);
    accept(id, follow, mergePage(follow.sequence, { after, upTo, events }));
    return page.more && events.length > 0;
  }

  /** Fetches the messages after the cursor, page by page. A failure is retried in the next round. */
  async function catchUp(id: number): Promise<void> {
    const follow = follows.get(id);
    if (!follow || follow.fetching) return;
    follow.fetching = true;
    try {
      while (await fetchPage(id, follow));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    } finally {
      follow.fetching = false;
    }
  }

  /** Returns true if the message belongs to a followed deployment; it is then emitted in order. */
  function take(message: DeploymentEvent): boolean {
    const follow = follows.get(message.deployment_id);
    if (follow) accept(message.deployment_id, follow, mergeBySeq(follow.sequence, [message]));
    return follow !== undefined;
  }

  function subscribe(id: number): void {
    const follow = follows.get(id);
    if (follow) send({ subscribe: { deployment_id: id, after: follow.sequence.cursor } });
  }

  function unfollow(id: number, follow: Follow): void {
    follow.readers -= 1;
    if (follow.readers > 0) return;
    clearTimeout(follow.gapTimer);
    follows.delete(id);
    send({ unsubscribe: { deployment_id: id } });
  }

  /** Emits every message of the deployment after `after` from now on. Returns a function that stops it. */
  function follow(id: number, after: number): () => void {
    const known = follows.get(id);
    const entry = known ?? { readers: 0, sequence: startSequence<DeploymentEvent>(after), fetching: false };
    entry.readers += 1;
    follows.set(id, entry);
    if (!known) subscribe(id);
    return () => unfollow(id, entry);
  }

  const each = (action: (id: number) => unknown) => [...follows.keys()].map(action);

  const subscribeAll = () => void each(subscribe);
  const catchUpAll = () => Promise.all(each(catchUp));

  return { take, follow, subscribe, subscribeAll, catchUpAll };
}
