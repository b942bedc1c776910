import type { MessageOf, MessageType, ServerMessage } from "@/api/messages";

type Handler = (message: ServerMessage) => void;

/** Delivers each message to the subscribers of its type. Subscribing returns the unsubscribe function. */
export class MessageBus {
  readonly #handlers = new Map<string, Set<Handler>>();

  on<T extends MessageType>(type: T, handler: (message: MessageOf<T>) => void): () => void {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers);
    const entry: Handler = message => handler(message as MessageOf<T>);
    handlers.add(entry);
    return () => handlers.delete(entry);
  }

  emit(message: ServerMessage): void {
    for (const handler of [...this.#handlers.get(message.type) ?? []]) handler(message);
  }
}
