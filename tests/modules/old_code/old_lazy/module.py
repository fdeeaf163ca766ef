from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_lazy", version="1.0.0", type="CV/test", author="x", author_email="", summary="a package that is imported in a function"
)
class OldLazy:
    @serving
    def serving_method(self, count):
        import importlib

        from tqdm import tqdm

        statistics = importlib.import_module("statistics")
        return statistics.mean(each for each in tqdm(range(count), disable=True))
