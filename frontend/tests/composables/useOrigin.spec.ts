import { mount } from "@vue/test-utils";
import { expect, it } from "vitest";
import { defineComponent, h } from "vue";
import { useOrigin } from "@/composables/useOrigin";
import { i18n } from "@/i18n";

const Names = defineComponent({
  props: { origins: { type: Array<string>, required: true } },
  setup(props) {
    const originName = useOrigin();
    return () => h("ul", props.origins.map(origin => h("li", originName(origin))));
  },
});

it("names our own origins and leaves others unchanged", () => {
  const origins = ["frontend", "cli", "GitHub", "constructor", ""];
  const list = mount(Names, { props: { origins }, global: { plugins: [i18n] } });
  expect(list.findAll("li").map(item => item.text())).toEqual(["this page", "the command line", "GitHub", "constructor", ""]);
});
