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
  /** Gets every message of a followed deployment, in order, each once. */
  emit: (messages: readonly DeploymentEvent[]) => void;
}

const EVENTS_PER_PAGE = 200;
/** A gap that the socket's own replay closes in this time needs no request. */
const GAP_PATIENCE_MS = 200;

/** The deployments that somebody watches closely: a cursor for each, and how what is missing after it is had. */
export function useFollows({ api, send, emit }: FollowOptions) {
  const follows = new Map<number, Follow>();

  function accept(id: number, follow: Follow, merged: Merged<DeploymentEvent>): void {
    follow.sequence = merged.sequence;
    emit(merged.ready);
    clearTimeout(follow.gapTimer);
    if (merged.gap) follow.gapTimer = setTimeout(() => void catchUp(id), GAP_PATIENCE_MS);
  }

  async function fetchPage(id: number, follow: Follow): Promise<boolean> {
    const after = follow.sequence.cursor;
    const page = await call(api.GET("/deployments/{deployment_id}/events", {
      params: { path: { deployment_id: id }, query: { after, limit: EVENTS_PER_PAGE } },
    }));
    if (follows.get(id) !== follow) return false;
    const events = page.events as unknown as DeploymentEvent[];
    const last = events.at(-1)?.seq ?? after;
    // With more to come the page is complete up to its last event; the last page, up to what the server has.
    const upTo = page.more ? last : Math.max(last, page.last_seq);
    accept(id, follow, mergePage(follow.sequence, { after, upTo, events }));
    return page.more && events.length > 0;
  }

  /** Fetches what came after the cursor, page by page. A failure only means that the next round tries again. */
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

  /** True when the message belongs to a followed deployment: it is emitted when its turn comes. */
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

  /** From now on every message of the deployment after `after` is emitted. Returns what ends it. */
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
